"""A packed array for tests."""

from support.sources import write_packed

OPTIONS = {"signals": "signals.npz", "table": "table.csv"}


def write(root):
    write_packed(root, [{}, {}])
