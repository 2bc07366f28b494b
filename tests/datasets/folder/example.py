"""A described folder for tests."""

from support.sources import beats, write_wfdb


def write(root):
    write_wfdb(root, "a", beats(0))
    write_wfdb(root, "b", beats(1))
    (root / "source.yaml").write_text("format: wfdb\n")
