"""A tree of WFDB records for tests."""

from support.sources import beats, write_wfdb


def write(root):
    write_wfdb(root, "a", beats(0))
    write_wfdb(root / "more", "b", beats(1))
