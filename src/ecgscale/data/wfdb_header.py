"""Headers of WFDB records: one parser for every format, several files, frames and segments.

Own code, where the `wfdb` package would be the first choice, for three reasons found on real data:
`wfdb.rdheader` refuses the record lines of the CinC 2020 release ("E00001.mat 12 500 5000"), turns
a gain of 0 into 200 without a word, and takes many times as long. The tests compare fields and
samples with that package on headers that it accepts.

Reference: https://physionet.org/physiotools/wag/header-5.htm
"""

import codecs
import math
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from ecgscale.data.gate import MILLIVOLTS, RATES
from ecgscale.data.record import canonical_lead
from ecgscale.data.sources.base import QuarantineError, is_inside

GAP = "~"
"""What a header names where there are no samples: between segments, and in a layout."""

_LARGEST_HEADER = 1_000_000
_SIGNAL = re.compile(
    r"""(?P<file>\S+) \s+ (?P<format>\d{1,3})
    (x(?P<per_frame>\d{1,6}))? (:(?P<skew>\d{1,9}))? (\+(?P<offset>\d{1,12}))?
    (\s+ (?P<stated>(?P<gain>[^\s(/]+) (\((?P<baseline>[-+]?\d{1,12})\))? (/(?P<unit>\S+))?)
    (\s+ [-+]?\d{1,12} (\s+ (?P<zero>[-+]?\d{1,12}) (\s+ (?P<initial>[-+]?\d{1,12})
    (\s+ (?P<checksum>[-+]?\d{1,12}) (\s+ [-+]?\d{1,12} (\s+ (?P<name>.*))? )?)?)?)?)?)?""",
    re.ASCII | re.VERBOSE,
)
_WHOLE = re.compile(r"[-+]?\d{1,12}", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


class Signal(NamedTuple):
    """One signal line, as it stands there.

    Attributes
    ----------
    name
        The description; "" where there is none.
    file, format, per_frame, skew, offset
        Where its samples are: the file, the number of the format, how many samples it has in a
        frame, how many frames it begins before the others, and the bytes before the first sample.
    gain, unit, baseline
        Steps per unit (None where not stated), the unit ("mV" where not
        stated) and the step that is 0: the converter's zero where no baseline is stated.
    initial, checksum
        The first sample (where not stated, None, or for format 8, which needs it, the converter's
        zero) and the sum of all samples modulo 65536 (None where not stated).
    """

    name: str
    file: str
    format: str
    per_frame: int
    skew: int
    offset: int
    gain: float | None
    unit: str
    baseline: int
    initial: int | None
    checksum: int | None

    @property
    def per_millivolt(self) -> float:
        """Steps per mV; NaN where the gain is not stated or the unit is no voltage."""
        scale = MILLIVOLTS.get(self.unit.lower())
        return math.nan if self.gain is None or scale is None else self.gain / scale

    @property
    def lead(self) -> str:
        """The name in the standard spelling."""
        return canonical_lead(self.name)


@dataclass(frozen=True)
class Header:
    """A header.

    Attributes
    ----------
    name
        Of its file.
    fs
        Frames per second: the sampling rate of every signal with one sample in a frame.
    n_samples
        Frames, None if not stated.
    signals
        In the order of the header; none where it lists segments.
    segments
        Name and number of frames of each segment, `GAP` where nothing was recorded.
    n_signals
        As the record line states them; None where not known. Segments have their own.
    comments
        By lower-case key: "#Age: 85" and "# Age: 85" give ``{"age": "85"}``.
    """

    name: str
    fs: float
    n_samples: int | None
    signals: tuple[Signal, ...]
    segments: tuple[tuple[str, int], ...]
    comments: dict[str, str]
    n_signals: int | None = None

    @property
    def leads(self) -> tuple[str, ...]:
        """Lead names in the standard spelling, in file order."""
        return tuple(signal.lead for signal in self.signals)

    @cached_property
    def groups(self) -> list[list[Signal]]:
        """The signals of each file."""
        files: dict[str, list[Signal]] = {}
        for signal in self.signals:
            files.setdefault(signal.file, []).append(signal)
        return list(files.values())


def read_header(path: Path) -> Header:
    """Read a header.

    Raises
    ------
    QuarantineError
        If the header is missing or malformed (unreadable-header), is a link out of its folder
        (path-traversal), or states an impossible rate (wrong-rate) or a gain that is no number
        (bad-gain).
    """
    if not path.is_file():
        raise QuarantineError("unreadable-header", f"{path.name} does not exist")
    if path.is_symlink() and not is_inside(path.parent, path):
        raise QuarantineError("path-traversal", f"{path.name} is a link out of its folder")
    if path.stat().st_size > _LARGEST_HEADER:
        raise QuarantineError("unreadable-header", f"{path.name} is larger than any header")
    try:
        return _parse(path.name, header_text(path))
    except ValueError as error:
        raise QuarantineError("unreadable-header", f"{path.name}: {error}") from error


def header_text(path: Path) -> str:
    """Return a header's text: UTF-8, with or without a byte order mark; else Latin-1."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.removeprefix(codecs.BOM_UTF8).decode("latin-1")


def _parse(name: str, text: str) -> Header:
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    content = [line for line in lines if not line.startswith("#")]
    if not content:
        raise ValueError("no record line")
    record, rows = content[0].split(), content[1:]
    segmented = "/" in record[0]
    count = _whole(record[0].rpartition("/")[2] if segmented else _field(record, 1))
    if count < 1 or len(rows) != count:
        what = "segments" if segmented else "signals"
        raise ValueError(f"the record line states {count} {what}, {len(rows)} follow")
    stated = _whole(_field(record, 3) or "0")
    if stated < 0:
        raise ValueError(f"{stated} samples")
    segments = tuple(_segment(row) for row in rows) if segmented else ()
    signals = () if segmented else tuple(_signal(name, row) for row in rows)
    if segmented and stated not in (0, sum(length for _, length in segments)):
        raise ValueError(f"{stated} samples, and the segments have others")
    header = Header(
        name=name,
        fs=_rate(name, _field(record, 2), max((each.per_frame for each in signals), default=1)),
        n_samples=(sum(length for _, length in segments) if segmented else stated) or None,
        signals=signals,
        segments=segments,
        comments=_comments(lines),
        n_signals=int(_field(record, 1)) if _WHOLE.fullmatch(_field(record, 1)) else None,
    )
    _check_groups(header)
    return header


def _field(row: list[str], position: int) -> str:
    return row[position] if len(row) > position else ""


def _whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no whole number, or too large")
    return int(text)


@lru_cache(maxsize=256)  # the same gains again and again
def _number(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else math.nan


def _rate(name: str, text: str, per_frame: int) -> float:
    rate = _number(text.split("/")[0].split("(")[0])
    if not (rate > 0 and RATES[0] <= rate * per_frame and rate <= RATES[1]):
        stated = text or "nothing"
        raise QuarantineError("wrong-rate", f"{name} states a rate of {stated[:40]} Hz")
    return rate


def _segment(line: str) -> tuple[str, int]:
    row = line.split()
    length = _whole(_field(row, 1))
    if length < 0:
        raise ValueError(f"segment {row[0]} has {length} samples")
    return row[0], length


def _signal(name: str, line: str) -> Signal:
    row = _SIGNAL.fullmatch(line)
    if row is None:
        raise ValueError(f"{line[:60]!r} is no signal line")
    lead, zero, initial, checksum = row.group("name", "zero", "initial", "checksum")
    gain = None if row["gain"] is None else _number(row["gain"])
    if gain is not None and math.isnan(gain):
        raise QuarantineError(
            "bad-gain", f"lead {lead or ''} of {name} has the gain {row['stated'][:40]!r}"
        )
    if initial is None and row["format"] == "8":
        initial = zero
    return Signal(
        name=(lead or "").strip(),
        file=row["file"],
        format=row["format"],
        per_frame=int(row["per_frame"] or 1),
        skew=int(row["skew"] or 0),
        offset=int(row["offset"] or 0),
        gain=gain,
        unit=row["unit"] or "mV",
        baseline=int(row["baseline"] or zero or 0),
        initial=None if initial is None else int(initial),
        checksum=None if checksum is None else int(checksum),
    )


def _check_groups(header: Header) -> None:
    order = [signal for group in header.groups for signal in group]
    if any(a is not b for a, b in zip(order, header.signals, strict=True)):
        raise ValueError("signals of one file do not stand together")
    for group in header.groups:
        if len({(each.format, each.offset) for each in group}) > 1:
            raise ValueError(f"{group[0].file} has several formats or offsets")
    if any(signal.per_frame < 1 for signal in header.signals):
        raise ValueError("a signal has no samples in a frame")


def _comments(lines: list[str]) -> dict[str, str]:
    pairs = (line.lstrip("# ").partition(":") for line in lines if line.startswith("#"))
    return {key.strip().lower(): value.strip() for key, colon, value in pairs if colon}
