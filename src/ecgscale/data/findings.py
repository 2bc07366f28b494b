"""What ingest found in a source, counted: the first look at data that nobody has looked at."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel

from ecgscale.data.amplitude import AmplitudeSummary, summarise
from ecgscale.data.record import UNKNOWN_PATIENT

SHOWN = 15
"""Most labels and kinds of notes that are kept, the commonest first."""


class Spread(BaseModel, extra="forbid", frozen=True):
    """A number over records: how many have it, its median and the bounds that a field names."""

    known: int
    median: float
    low: float
    high: float


class Findings(BaseModel, extra="forbid", frozen=True):
    """What the stored records of a source have.

    Attributes
    ----------
    patients, unknown_patients, hours
        Patients; those of them that are recordings whose patient is unknown; and hours of
        recordings as published.
    leads
        The stored ones.
    rates
        Published sampling rate in Hz to records.
    ages
        Years over the records with a known age, with the lowest and the highest.
    sexes
        "F", "M" and "unknown" to records.
    label_codes, labels
        How many codes there are, and the commonest to the records that have them.
    unlabelled
        Records without any label.
    amplitudes
        Of the QRS complexes (`ecgscale.data.amplitude`).
    notes
        Kind of note (numbers in it written as #) to records, the commonest.
    source_notes
        What was found of the source as a whole.
    """

    patients: int
    unknown_patients: int
    hours: float
    leads: tuple[str, ...]
    rates: dict[str, int]
    ages: Spread | None
    sexes: dict[str, int]
    label_codes: int
    labels: dict[str, int]
    unlabelled: int
    amplitudes: AmplitudeSummary
    notes: dict[str, int]
    source_notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the findings as lines of text."""
        known = (
            "unknown"
            if self.ages is None
            else (
                f"known for {self.ages.known:,} records, median {self.ages.median:.0f} "
                f"({self.ages.low:.0f} to {self.ages.high:.0f})"
            )
        )
        mv = self.amplitudes
        amplitude = (
            "not in mV"
            if mv.median is None
            else f"median {mv.median:.2f} mV (98 % of records: {mv.low:.2f} to {mv.high:.2f}), "
            f"usual {mv.usual:.2f}"
        )
        unknown = (
            f" (of whom {self.unknown_patients:,} are recordings of unknown patients)"
            if self.unknown_patients
            else ""
        )
        more = self.label_codes - len(self.labels)
        labels = _counts(self.labels) + (f", {more} more codes" if more else "")
        return [
            f"patients    {self.patients:,}{unknown}, {self.hours:.1f} hours",
            f"leads       {', '.join(self.leads)}",
            f"rates       {_counts({f'{rate} Hz': n for rate, n in self.rates.items()})}",
            f"ages        {known}",
            f"sexes       {_counts(self.sexes)}",
            f"labels      {labels or 'none'}; {self.unlabelled:,} records without any",
            f"amplitudes  {amplitude}",
            *(f"noted       {note} ({count:,})" for note, count in self.notes.items()),
            *(f"source      {note}" for note in self.source_notes),
        ]


def findings(
    rows: Sequence[Mapping[str, Any]], leads: tuple[str, ...], source_notes: tuple[str, ...] = ()
) -> Findings:
    """Return what the stored records have, given their rows of the table."""
    patients = {row["patient_id"] for row in rows}
    labels = Counter(code for row in rows for code in row["labels"])
    notes = Counter(kind for row in rows for kind in {_kind(note) for note in row["notes"]})
    sexes = Counter(row["sex"] or "unknown" for row in rows)
    rates = Counter(row["fs_original"] for row in rows)
    return Findings(
        patients=len(patients),
        unknown_patients=sum(UNKNOWN_PATIENT in patient for patient in patients),
        hours=sum(row["seconds"] for row in rows) / 3600,
        leads=leads,
        rates={f"{rate:g}": count for rate, count in sorted(rates.items())},
        ages=_spread((row["age"] for row in rows), 0, 100),
        sexes=dict(sorted(sexes.items())),
        label_codes=len(labels),
        labels=_commonest(labels),
        unlabelled=sum(not row["labels"] for row in rows),
        amplitudes=summarise([row["amplitude"] for row in rows], leads),
        notes=_commonest(notes),
        source_notes=source_notes,
    )


def _spread(values: Iterable[float], low: float, high: float) -> Spread | None:
    known = np.array([value for value in values if np.isfinite(value)])
    if not known.size:
        return None
    median, bottom, top = np.percentile(known, [50, low, high]).tolist()
    return Spread(known=known.size, median=median, low=bottom, high=top)


def _commonest(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SHOWN])


def _kind(note: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "#", note)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
