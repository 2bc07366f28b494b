"""Kinds of files of a folder, a module each: what a file states is handed to `data.gate`."""
