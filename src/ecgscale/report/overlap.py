"""What the report says of replicates that draw their patients from one finite pool."""

from collections.abc import Sequence

from ecgscale.data.subsets import Overlap
from ecgscale.report.tables import Table
from ecgscale.report.words import DASH

COLUMNS = ("Patients", "Of the pool", "Expected in common", "In common", "More than half")


def overlap_table(overlaps: Sequence[Overlap]) -> Table:
    """Return, for each size, how many of their patients two nesting orders have in common."""
    rows = [
        [
            f"{overlap.size:,}",
            f"{overlap.pool_patients:,}",
            f"{overlap.expected:.0%}",
            _span(overlap.measured),
            "yes" if overlap.large else "no",
        ]
        for overlap in overlaps
    ]
    return Table(
        "overlap",
        "Patients that two nesting orders have in common at each size, as a share of the subset: "
        "expected is the subset's share of the pool.",
        COLUMNS,
        rows,
    )


def finite_pool(overlaps: Sequence[Overlap]) -> list[str]:
    """Say what intervals mean where a subset is more than half of the pool; else nothing."""
    large = [overlap for overlap in overlaps if overlap.large]
    if not large:
        return []
    top = large[-1]
    measured = f", and two orders share {_span(top.measured)} of their patients" * bool(top.shared)
    others = f" (so are those of {_listed(large[:-1])})" if large[:-1] else ""
    return [
        f"Subsets of {top.size:,} patients are more than half of the pool{others}: "
        f"{top.expected:.0%} of its {top.pool_patients:,} patients{measured}. There, replicates "
        "differ by their seeds and little by their patients. Intervals are about other orders of "
        "this pool. Of other pools they hold for a slope as far as a patient adds the same at "
        "every size, and are too narrow for the level at this size."
    ]


def _span(shares: Sequence[float]) -> str:
    if not shares:
        return DASH
    low, high = (f"{end(shares):.0%}" for end in (min, max))
    return low if low == high else f"{low}{DASH}{high}"


def _listed(overlaps: Sequence[Overlap]) -> str:
    return " and ".join(f"{overlap.size:,}" for overlap in overlaps)
