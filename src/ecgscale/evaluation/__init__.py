"""Downstream evaluation of an encoder: embeddings, probes, metrics and their uncertainty."""
