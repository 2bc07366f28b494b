"""WFDB records in format 16: the header, and the samples of its one signal file.

Own code, where the `wfdb` package would be the first choice, for three reasons found on real data:
`wfdb.rdheader` refuses the record lines of the CinC 2020 release ("E00001.mat 12 500 5000"), turns
a gain of 0 into 200 without a word, and takes many times as long. The tests compare fields and
samples with that package on headers that it accepts.

Reference: https://physionet.org/physiotools/wag/header-5.htm
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecgscale.data.record import canonical_lead
from ecgscale.data.sources.base import QuarantineError, is_inside

MILLIVOLTS = {"nv": 1e-6, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "mv": 1.0, "v": 1e3}
"""mV per unit, by the unit's lower-case name (both Unicode spellings of micro)."""

INVALID = -32768
"""The sample value by which format 16 marks "no measurement"."""

RATES = (20.0, 20_000.0)
"""Sampling rates in Hz outside which a header cannot be right."""

GAINS = (1.0, 1e7)
"""Digital units per mV outside which a header says nothing: a release states 2,000,000 for 2000."""

_LARGEST_HEADER = 1_000_000
_GAIN = re.compile(r"(?P<gain>[^(/]+)(\((?P<baseline>[-+]?\d+)\))?(/(?P<unit>\S+))?")
_FORMAT = re.compile(r"16(\+(?P<offset>\d+))?")


@dataclass(frozen=True)
class Signal:
    """One signal line: `gain` in digital units per mV, `checksum` None where not stated."""

    lead: str
    gain: float
    baseline: int
    checksum: int | None


@dataclass(frozen=True)
class Header:
    """A header: rate in Hz, samples per signal (None if not stated), signals and comments."""

    fs: float
    n_samples: int | None
    file: str
    offset: int
    signals: tuple[Signal, ...]
    comments: dict[str, str]
    """By lower-case key: "#Age: 85" and "# Age: 85" give ``{"age": "85"}``."""

    @property
    def leads(self) -> tuple[str, ...]:
        """Lead names in the standard spelling, in file order."""
        return tuple(signal.lead for signal in self.signals)


def read_header(path: Path) -> Header:
    """Read a header.

    Raises
    ------
    QuarantineError
        If the header is missing, malformed or not of one format-16 file (unreadable-header), names
        a lead twice (repeated-lead), or states an impossible rate (wrong-rate) or gain (bad-gain).
    """
    if not path.is_file():
        raise QuarantineError("unreadable-header", f"{path.name} does not exist")
    if path.is_symlink() and not is_inside(path.parent, path):
        raise QuarantineError("path-traversal", f"{path.name} is a link out of its folder")
    if path.stat().st_size > _LARGEST_HEADER:
        raise QuarantineError("unreadable-header", f"{path.name} is larger than any header")
    text = path.read_bytes().decode("utf-8", errors="replace")
    try:
        return _parse(text)
    except (ValueError, IndexError) as error:
        raise QuarantineError("unreadable-header", f"{path.name}: {error}") from error


def read_samples(folder: Path, header: Header) -> npt.NDArray[np.int16]:
    """Read the samples that a header in `folder` describes.

    Returns
    -------
    numpy.ndarray
        Shape (time, lead), int16, as digitised.

    Raises
    ------
    QuarantineError
        With reason path-traversal, missing-signal-file, truncated-signal, wrong-rate (more samples
        than stated), checksum-mismatch or nan-samples.
    """
    path = _signal_path(folder, header.file)
    frame = 2 * len(header.signals)
    held = max(path.stat().st_size - header.offset, 0)
    stated = held // frame if header.n_samples is None else header.n_samples
    if held < stated * frame or stated == 0:
        raise QuarantineError(
            "truncated-signal", f"{path.name} holds {held // frame} of {stated} samples per lead"
        )
    if held > stated * frame:
        raise QuarantineError(
            "wrong-rate",
            f"{path.name} holds {held / frame:g} samples per lead, the header states {stated}",
        )
    samples = np.fromfile(path, dtype="<i2", offset=header.offset).reshape(stated, -1)
    _check_samples(samples, header, path.name)
    return samples


def segment_header(root: Path, stem: Path) -> Header:
    """Read the header of a recording that lies in ``<stem>.dat``, and check where its files are.

    Raises
    ------
    QuarantineError
        If it is not under `root` or names another file (path-traversal), or there is no signal
        file (missing-signal-file), or as `read_header`.
    """
    path, signal, notes = (stem.with_name(stem.name + end) for end in (".hea", ".dat", ".atr"))
    if not all(is_inside(root, part) for part in (path, signal, notes)):
        raise QuarantineError("path-traversal", f"{stem.name} lies outside the source folder")
    header = read_header(path)
    if header.file != signal.name:
        raise QuarantineError("path-traversal", f"{path.name} names the file {header.file!r}")
    if not signal.is_file():
        raise QuarantineError("missing-signal-file", f"{signal.name} does not exist")
    return header


def read_window(stem: Path, header: Header, start: int, samples: int) -> npt.NDArray[np.int16]:
    """Read a part of a recording in format 16, less at its end, without touching the rest.

    Returns
    -------
    numpy.ndarray
        Shape (time, lead), int16, as digitised.

    Raises
    ------
    QuarantineError
        With reason truncated-signal (the file ends before the window or before the stated number of
        samples in it) or nan-samples.
    """
    leads = len(header.signals)
    stated = start + samples if header.n_samples is None else header.n_samples
    wanted = min(samples, stated - start)
    path = stem.with_name(f"{stem.name}.dat")
    offset = header.offset + 2 * leads * start
    read = np.fromfile(path, dtype="<i2", offset=offset, count=max(wanted, 0) * leads)
    window = read[: len(read) // leads * leads].reshape(-1, leads)
    if wanted <= 0 or len(window) < wanted:
        raise QuarantineError(
            "truncated-signal", f"{path.name} has {len(window)} of {samples} samples from {start}"
        )
    if (window == INVALID).any():
        raise QuarantineError("nan-samples", f"{path.name} has invalid samples after {start}")
    return window


def to_millivolts(
    samples: npt.NDArray[np.int16], header: Header, gain: float | None = None
) -> npt.NDArray[np.float32]:
    """Convert digitised samples (time, lead) to mV (lead, time), float32.

    Parameters
    ----------
    samples, header
        As read.
    gain
        Digital units per mV to use for every lead in place of the header's.
    """
    gains = np.array([gain or signal.gain for signal in header.signals])[:, None]
    baselines = np.array([signal.baseline for signal in header.signals])[:, None]
    signal: npt.NDArray[np.float32] = ((samples.T - baselines) / gains).astype(np.float32)
    return signal


def _parse(text: str) -> Header:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    content = [line for line in lines if not line.startswith("#")]
    if not content:
        raise ValueError("no record line")
    record = content[0].split()
    if "/" in record[0]:
        raise ValueError("records of several segments are not read")
    count = int(record[1])
    if count < 1 or len(content) - 1 != count:
        raise ValueError(f"the record line states {count} signals, {len(content) - 1} follow")
    stated = int(record[3]) if len(record) > 3 else 0
    if stated < 0:
        raise ValueError(f"{stated} samples")
    rows = [line.split(maxsplit=8) for line in content[1:]]
    file, layout = _one({row[0] for row in rows}), _one({row[1] for row in rows})
    match = _FORMAT.fullmatch(layout)
    if match is None:
        raise ValueError(f"format {layout} is not read, only 16")
    signals = tuple(_signal(row) for row in rows)
    repeated = {s.lead for s in signals if sum(s.lead == other.lead for other in signals) > 1}
    if repeated:
        raise QuarantineError("repeated-lead", f"lead {min(repeated)} is named twice")
    return Header(
        fs=_rate(record),
        n_samples=stated or None,
        file=file,
        offset=int(match["offset"] or 0),
        signals=signals,
        comments=_comments(lines),
    )


def _rate(record: list[str]) -> float:
    text = record[2].split("/")[0].split("(")[0] if len(record) > 2 else "nothing"
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not RATES[0] <= rate <= RATES[1]:
        raise QuarantineError("wrong-rate", f"the header states a rate of {text} Hz")
    return rate


def _signal(row: list[str]) -> Signal:
    lead = canonical_lead(row[8]) if len(row) > 8 else ""
    text = row[2] if len(row) > 2 else ""
    match = _GAIN.fullmatch(text)
    if match is None:
        raise QuarantineError("bad-gain", f"lead {lead} has the gain {text!r}")
    baseline = int(match["baseline"] or (row[4] if len(row) > 4 else 0))
    if abs(baseline) > 2**31:
        raise ValueError(f"lead {lead} has the baseline {baseline}")
    return Signal(
        lead=lead,
        gain=_gain(match["gain"], match["unit"] or "mV", lead),
        baseline=baseline,
        checksum=int(row[6]) if len(row) > 6 else None,
    )


def _gain(text: str, unit: str, lead: str) -> float:
    if unit.lower() not in MILLIVOLTS:
        raise QuarantineError("bad-gain", f"lead {lead} has the unit {unit!r}, no voltage")
    try:
        gain = float(text) / MILLIVOLTS[unit.lower()]
    except ValueError:
        gain = math.nan
    if not GAINS[0] <= gain <= GAINS[1]:
        raise QuarantineError("bad-gain", f"lead {lead} has the gain {text}/{unit}")
    return gain


def _one(values: set[str]) -> str:
    if len(values) > 1:
        raise ValueError(f"signals in several files or formats are not read: {sorted(values)}")
    return values.pop()


def _comments(lines: list[str]) -> dict[str, str]:
    pairs = (line.lstrip("# ").partition(":") for line in lines if line.startswith("#"))
    return {key.strip().lower(): value.strip() for key, colon, value in pairs if colon}


def _signal_path(folder: Path, name: str) -> Path:
    path = folder / name
    bare = name not in (".", "..") and not re.search(r"[/\\\0]", name)
    if not bare or (path.is_symlink() and not is_inside(folder, path)):
        raise QuarantineError("path-traversal", f"the header names the signal file {name!r}")
    if not path.is_file():
        raise QuarantineError("missing-signal-file", f"{name} does not exist")
    return path


def _check_samples(samples: npt.NDArray[np.int16], header: Header, name: str) -> None:
    sums = samples.sum(axis=0, dtype=np.int64)
    for signal, total in zip(header.signals, sums.tolist(), strict=True):
        if signal.checksum is not None and (total - signal.checksum) % 65536:
            raise QuarantineError(
                "checksum-mismatch",
                f"lead {signal.lead} of {name} adds up to {total % 65536}, "
                f"the header states {signal.checksum % 65536}",
            )
    invalid = (samples == INVALID).sum(axis=0)
    if invalid.any():
        worst = int(invalid.argmax())
        raise QuarantineError(
            "nan-samples",
            f"lead {header.signals[worst].lead} of {name} has {invalid[worst]} invalid samples",
        )
