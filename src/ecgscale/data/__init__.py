"""ECG data: records, sources, the store, subsets and views of a batch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecgscale.data.store import open_store

__all__ = ["open_store"]


def __getattr__(name: str) -> Any:
    """Import the store when it is asked for: every command imports this package, few read data."""
    if name == "open_store":
        from ecgscale.data.store import open_store

        return open_store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
