"""Ends a store that a test writes by hand."""

from ecgscale.data.store import Manifest, StoreWriter, input_digests


def finish(writer: StoreWriter, source, recipe) -> Manifest:
    """Write the tables and the manifest of a source of which nothing is quarantined."""
    return writer.finish(
        [],
        source=source,
        reader="made-up",
        namespace=source,
        recipe=recipe,
        records=len(writer.rows),
        quarantined={},
        inputs=input_digests([]),
    )
