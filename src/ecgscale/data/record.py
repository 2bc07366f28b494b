"""One ECG recording as every source delivers it, and the lead vocabulary."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

LEADS: tuple[str, ...] = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The standard 12 leads in the standard order."""

_SPELLINGS = {lead.lower(): lead for lead in LEADS}

INDEPENDENT_LEADS: tuple[str, ...] = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The eight leads from which the other four follow exactly (Einthoven and Goldberger)."""

CLINICAL_FIELDS: dict[str, str] = {
    "height": "cm",
    "weight": "kg",
    "sbp": "mmHg",
    "dbp": "mmHg",
    "total_cholesterol": "mmol/L",
    "hdl_cholesterol": "mmol/L",
    "smoker": "0 or 1",
    "diabetes": "0 or 1",
}
"""Clinical fields a source may know, with their units; unknown is NaN."""

CLINICAL_RANGES: dict[str, tuple[float, float]] = {
    "height": (20.0, 260.0),
    "weight": (0.3, 500.0),
    "sbp": (20.0, 300.0),
    "dbp": (20.0, 300.0),
    "total_cholesterol": (0.3, 40.0),
    "hdl_cholesterol": (0.05, 10.0),
    "smoker": (0.0, 1.0),
    "diabetes": (0.0, 1.0),
}
"""Lowest and highest value that a person can have (assumptions of this project, wide on purpose: a
preterm infant's height, the heaviest adults); one outside is a mistake, or in another unit."""

Sex = Literal["F", "M"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


UNKNOWN_PATIENT = ":?"
"""What stands in a patient id in place of ":" where nobody knows whose the recording is."""


def unknown_patient(namespace: str, recording: str) -> str:
    """Return the patient id of a recording whose patient is unknown.

    It is counted as a patient of its own, though others may be of the same person: no task holds it
    out, and a subset states how many such patients it has.

    Examples
    --------
    >>> unknown_patient("challenge", "S0001")
    'challenge:?S0001'
    """
    return f"{namespace}{UNKNOWN_PATIENT}{recording}"


def canonical_lead(name: str) -> str:
    """Return the standard spelling of a lead ("AVR" becomes "aVR"); unknown names unchanged."""
    return _SPELLINGS.get(name.strip().lower(), name.strip())


@dataclass(frozen=True)
class Record:
    """One recording as its source published it, in mV.

    Attributes
    ----------
    record_id
        Unique within its source.
    patient_id
        ``<namespace>:<id>``, where two sources that publish the same patients share the namespace,
        so that the same person is recognised across them; ``<namespace>:?<record>`` where the
        source does not say who it is (`unknown_patient`).
    signal
        Shape (lead, time), float32, mV (unit ``z``: standard deviations, where a publisher has
        removed the amplitude).
    fs
        Sampling rate in Hz.
    leads
        Names in the standard spelling, in the order of `signal`.
    age
        Years, or None.
    labels
        Codes as the source writes them, mapped to the stated likelihood in percent (100 where the
        source states none).
    fold
        Published cross-validation fold, or None.
    split
        Published split ("train", "validation" or "test"), or None.
    split_labels
        Labels that a published split list assigns (`labels` are the header's).
    clinical
        Values for names in `CLINICAL_FIELDS`.
    measurements
        Numbers that the source states for this record and a task predicts ("lvef" in percent).
    columns
        Text of the columns that the source's own tasks read, by the column's name.
    unit
        "mV" or "z".
    gain
        The gain that the file states, in words ("1000/mV", "200/mV read as 1000/mV"), "" where it
        states none. Amplitudes are compared among records that state the same.
    device
        The recorder, as the source names it, "" where it does not; compared likewise.
    notes
        What had to be assumed, in words ("gain 4880/mV in the header read as 1000/mV").
    """

    record_id: str
    patient_id: str
    signal: npt.NDArray[np.float32]
    fs: float
    leads: tuple[str, ...]
    age: float | None = None
    sex: Sex | None = None
    labels: dict[str, float] = field(default_factory=dict)
    fold: int | None = None
    split: Split | None = None
    split_labels: tuple[str, ...] = ()
    clinical: dict[str, float] = field(default_factory=dict)
    measurements: dict[str, float] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    unit: Literal["mV", "z"] = "mV"
    gain: str = ""
    device: str = ""
    notes: tuple[str, ...] = ()
