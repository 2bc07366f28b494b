"""An int16 array in an ``.npz`` file with a table beside it."""

import math
import re
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecgscale.data.record import LEADS, Record
from ecgscale.data.sources.base import (
    PATIENT_METADATA,
    QuarantineError,
    Ref,
    Source,
    SourceOptions,
    parse_age,
    parse_fold,
    parse_likelihoods,
    parse_sex,
    read_clinical,
    read_table,
    sources,
    whole_number,
)
from ecgscale.data.sources.metadata import GroupPattern
from ecgscale.errors import BadInputError

MILLIVOLT_STEPS = 1000.0
"""Steps of the array per mV, or per standard deviation where the amplitude was removed."""


class PackedOptions(SourceOptions):
    """The two files, and how their columns are read."""

    signals: str
    """``.npz`` with `signals`, int16 (record, lead, time), and `uid`, one text per record."""
    table: str
    """``.csv`` with the columns uid, amplitude, patient_id, age, sex, labels and strat_fold."""
    fs: float = Field(default=100.0, gt=0)
    """Sampling rate of the array, Hz."""
    leads: tuple[str, ...] = LEADS
    """Leads of the array, in its order."""
    patient_pattern: GroupPattern = "(.+)"
    """Its first group, matched against the whole `patient_id`, is the id under the namespace."""


@dataclass(frozen=True)
class PackedRef(Ref):
    """Position in the array (None: no signal) and row of the table (None: no row)."""

    position: int | None
    row: dict[str, str] | None
    clinical: dict[str, float]


@sources.register("packed")
class Packed(Source[PackedRef]):
    """Recordings that were collected into one array by someone before."""

    Options: ClassVar[type[SourceOptions]] = PackedOptions
    title = "Packed array and table"
    licence = "as the table's `licence` column says"
    access = "open"
    unit = "mV or standard deviations, as the table's `amplitude` column says"
    patient_key = "patient_id, reduced by the option patient_pattern"
    citation = "as the table's `dataset` column says"
    url = "https://numpy.org/doc/stable/reference/generated/numpy.savez.html"

    def index(self) -> list[PackedRef]:
        """List the rows of the table, then array entries that have no row."""
        self.require_root()
        rows = read_table(self.root / self.options.table, ("uid", "amplitude", "patient_id"))
        positions = {uid: position for position, uid in enumerate(self._uids)}
        clinical = read_clinical(self.root)
        refs = []
        for row in rows:
            patient = self._patient(row["patient_id"])
            known = clinical.get(patient or "", {})
            refs.append(PackedRef(row["uid"], positions.get(row["uid"]), row, known))
        listed = {ref.record_id for ref in refs}
        orphans = (uid for uid in self._uids if uid not in listed)
        refs += [PackedRef(uid, positions[uid], None, {}) for uid in orphans]
        if not refs:
            raise BadInputError(f"{self.root / self.options.table} lists no records")
        return refs

    def read(self, ref: PackedRef) -> Record:
        """Read one record."""
        if ref.row is None:
            raise QuarantineError("bad-metadata", f"no row in {self.options.table}")
        if ref.position is None:
            raise QuarantineError("missing-signal-file", f"no entry in {self.options.signals}")
        row = ref.row
        signal = self._signals[ref.position]
        _check_length(row, signal.shape[-1] / self.options.fs)
        patient = self._patient(row["patient_id"])
        if patient is None:
            raise QuarantineError(
                "bad-metadata",
                f"patient_id {row['patient_id']!r} does not match {self.options.patient_pattern!r}",
            )
        age, notes = parse_age(row.get("age", ""))
        return Record(
            record_id=ref.record_id,
            patient_id=f"{self.namespace}:{patient}",
            signal=signal.astype(np.float32) / np.float32(MILLIVOLT_STEPS),
            fs=self.options.fs,
            leads=self.options.leads,
            age=age,
            sex=parse_sex(row.get("sex", "")),
            labels=_labels(row.get("labels", "")),
            fold=parse_fold(row.get("strat_fold", "")),
            clinical=ref.clinical,
            unit=_unit(row["amplitude"]),
            notes=(*notes, "clipped by the recorder") if _is_clipped(row) else notes,
        )

    def tables(self) -> list[Path]:
        """Return the array, its table and the patient table."""
        return [
            self.root / self.options.signals,
            self.root / self.options.table,
            self.root / PATIENT_METADATA,
        ]

    @cached_property
    def _signals(self) -> npt.NDArray[np.int16]:
        signals = self._load("signals")
        leads = len(self.options.leads)
        if signals.dtype != np.int16 or signals.ndim != 3 or signals.shape[1] != leads:
            raise BadInputError(
                f"{self.root / self.options.signals}: signals must be int16 of shape "
                f"(record, {leads}, time), not {signals.dtype} {signals.shape}"
            )
        if len(signals) != len(self._uids):
            raise BadInputError(
                f"{self.root / self.options.signals}: {len(signals)} signals, "
                f"{len(self._uids)} uids"
            )
        return signals

    @cached_property
    def _uids(self) -> list[str]:
        return [str(uid) for uid in self._load("uid").ravel()]

    def _load(self, name: str) -> npt.NDArray[Any]:
        path = self.root / self.options.signals
        try:
            with np.load(path, allow_pickle=False) as archive:
                return np.asarray(archive[name])
        except FileNotFoundError as error:
            raise BadInputError(f"{path} does not exist") from error
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise BadInputError(f"{path} is not an .npz file with {name!r}: {error}") from error

    def _patient(self, text: str) -> str | None:
        match = re.fullmatch(self.options.patient_pattern, text)
        return whole_number(match[1] or "") or None if match else None


def _check_length(row: dict[str, str], seconds: float) -> None:
    try:
        stated = float(row.get("n_orig") or "nan") / float(row.get("fs_orig") or "nan")
    except ValueError:
        raise QuarantineError("bad-metadata", "n_orig or fs_orig is not a number") from None
    except ZeroDivisionError:
        raise QuarantineError("wrong-rate", "fs_orig is 0") from None
    if not math.isnan(stated) and abs(stated - seconds) > 0.05:
        raise QuarantineError(
            "wrong-rate",
            f"n_orig / fs_orig is {stated:g} s, the array holds {seconds:g} s",
        )


def _unit(text: str) -> Literal["mV", "z"]:
    if text.startswith("zscore"):
        return "z"
    if text == "mV":
        return "mV"
    raise QuarantineError("bad-gain", f"amplitude is {text!r}, neither 'mV' nor 'zscore...'")


def _labels(text: str) -> dict[str, float]:
    if text.startswith("{"):
        return parse_likelihoods(text)
    return {text: 100.0} if text else {}


def _is_clipped(row: dict[str, str]) -> bool:
    return row.get("clipped", "").strip().lower() == "true"
