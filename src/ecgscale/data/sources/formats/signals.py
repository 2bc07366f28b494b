"""What files of several kinds have in common."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from ecgscale.data.record import LEADS
from ecgscale.data.sources.base import QuarantineError
from ecgscale.data.sources.formats.names import lead_of


def only_leads(
    file: str, labels: Sequence[str], lead_names: Mapping[str, str], leads: Sequence[str]
) -> tuple[list[str], list[int], tuple[str, ...]]:
    """Tell leads from other signals.

    Returns
    -------
    Every signal's lead, the places of those that are leads, and a note on what is left out.

    Raises
    ------
    QuarantineError
        If no signal is a lead (missing-lead).
    """
    names = [lead_of(label, lead_names) for label in labels]
    known = {*LEADS, *leads, *lead_names.values()}
    kept = [place for place, name in enumerate(names) if name in known]
    left = ", ".join(
        label or "nameless" for label, name in zip(labels, names, strict=True) if name not in known
    )
    if not kept:
        raise QuarantineError(
            "missing-lead",
            f"no signal of {file} is named like a lead, but {left[:200]}; see lead_names",
        )
    return names, kept, (f"not leads, left out: {left[:200]}",) if left else ()


def unreadable(path: Path, error: Exception) -> Exception:
    """Return what a library's error in a file means: the system's own errors are left as they are.

    Libraries raise nearly anything for a damaged file, and errors of the system without a number.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error
    reason = " ".join(str(error).split()) or type(error).__name__
    return QuarantineError("unreadable-header", f"{path.name}: {reason[:200]}")


def age_comment(birth: date, day: date) -> str:
    """Return the age in years on a day as a comment line."""
    before = (day.month, day.day) < (birth.month, birth.day)
    return f"#Age: {day.year - birth.year - before}"
