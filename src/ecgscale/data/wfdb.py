"""WFDB records of any format, whole or in windows, and the lists that name them."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from ecgscale.data.amplitude import corrected
from ecgscale.data.gate import Channel, admit, check_sum
from ecgscale.data.sources.base import Decoded, QuarantineError, is_inside, read_names
from ecgscale.data.wfdb_formats import check_length, invalid_of, read_frames
from ecgscale.data.wfdb_header import GAP, Header, Signal, header_text, read_header
from ecgscale.errors import BadInputError

SUFFIXES = (".hea", ".mat", ".dat")
RECORDS = "RECORDS"

LARGEST_READ = 2**25
"""Samples of all signals that are read at once: with their mV less than 1 GiB."""

LARGEST_SUMMED = 2**24
"""Samples of all signals up to which a recording is read whole, for its checksums, where a part is
asked for."""

_AS_SPELLED: Mapping[str, str] = MappingProxyType({})


def read_wfdb(
    root: Path,
    path: Path,
    start: int = 0,
    seconds: float | None = None,
    lead_names: Mapping[str, str] = _AS_SPELLED,
) -> Decoded:
    """Read a record of any format.

    Parameters
    ----------
    root
        Files outside of it are not read.
    path
        The header.
    start, seconds
        First frame, and how much to read from there; None for all.
    lead_names
        Names in the header to names of leads.

    Raises
    ------
    QuarantineError
        If the record cannot be read, or ends before `start` (too-short).
    """
    header = located(root, path)
    length = header.n_samples or 0
    if start >= length:
        raise QuarantineError("too-short", f"{path.name} has {length / header.fs:g} s")
    stop = length if seconds is None else min(start + round(seconds * header.fs), length)
    return decode(path.parent, header, start, stop, lead_names)


def located(root: Path, path: Path) -> Header:
    """Read the header of a record below `root`, with the number of frames that its files hold.

    Raises
    ------
    QuarantineError
        If it lies outside `root`, cannot be read, or its files are not as long as it states.
    """
    if not is_inside(root, path):
        raise QuarantineError("path-traversal", f"{path.name} lies outside the source's folder")
    header = read_header(path)
    return replace(header, n_samples=_length(path.parent, header))


def decode(
    folder: Path,
    header: Header,
    start: int = 0,
    stop: int | None = None,
    lead_names: Mapping[str, str] = _AS_SPELLED,
) -> Decoded:
    """Read a record, or the frames from `start` to before `stop`, through the gate.

    Parameters
    ----------
    folder
        Of the header.
    header, start, stop
        As read; None for the end.
    lead_names
        Names in the header to names of leads.

    Returns
    -------
    Decoded
        At the signals' own rate, which is that of the frames times the samples in a frame; NaN
        where nothing was recorded between segments.

    Raises
    ------
    QuarantineError
        As `channels` and `ecgscale.data.gate.admit`.
    """
    if header.segments:
        return _joined(folder, header, start, stop, lead_names)
    found, notes = channels(folder, header, start, stop)
    decoded = admit(header.name, found, lead_names)
    return replace(decoded, notes=(*notes, *decoded.notes))


def channels(
    folder: Path,
    header: Header,
    start: int = 0,
    stop: int | None = None,
    summed: bool = True,
    surplus: bool = False,
) -> tuple[list[Channel], tuple[str, ...]]:
    """Read what a header states and its signal files hold, for the gate.

    The length of the files is checked even where only a part is read; checksums only where the
    whole recording is.

    Parameters
    ----------
    folder, header, start, stop
        As in `decode`; the header has no segments.
    summed
        Whether a recording of up to `LARGEST_SUMMED` samples is read whole, for its checksums.
    surplus
        Whether a file may be longer than stated.

    Returns
    -------
    The channels, in the order of the header, and notes on what was assumed.

    Raises
    ------
    QuarantineError
        With reason path-traversal, missing-signal-file, truncated-signal, wrong-rate (more samples
        than stated), checksum-mismatch or unreadable-header (a format that is not read; more than
        `LARGEST_READ` samples).
    """
    length = _length(folder, header, surplus)
    skew = max(each.skew for each in header.signals)
    usable = length - skew
    stop = usable if stop is None else min(stop, usable)
    if stop <= start:
        raise QuarantineError("truncated-signal", f"{header.name} has no frame {start}")
    width = sum(each.per_frame for each in header.signals)
    whole = (start, stop) == (0, usable) or (summed and length * width <= LARGEST_SUMMED)
    first, last = (0, length) if whole else (start, stop + skew)
    _check_size(header, (last - first) * width)
    cut = (start - first, stop - first) != (0, length)
    unsummed = all(each.checksum == 0 and not each.initial for each in header.signals)
    summing = whole and not unsummed
    found, other_first, from_to = [], [], (start - first, stop - first)
    for group in header.groups:
        path = folder / group[0].file
        for signal, samples in zip(group, read_frames(path, group, first, last), strict=True):
            channel = Channel(
                signal.name,
                samples,
                header.fs * signal.per_frame,
                signal.unit,
                signal.gain,
                signal.baseline,
                invalid_of(signal),
                signal.checksum if summing else None,
            )
            if summing and signal.initial not in (None, int(samples[0])) and signal.format != "8":
                other_first.append(signal.lead)
            found.append(_cut(header.name, channel, signal, *from_to) if cut else channel)
    stated = any(each.checksum is not None for each in header.signals)
    notes = (
        *(["checksums and first samples of 0 taken as not stated"] if whole and unsummed else []),
        *(["a part is read, its checksum is not known"] if summed and stated and not whole else []),
        *([f"{skew} frames at the end, which not all signals have, left out"] if skew else []),
        *(
            [f"not the first sample that is stated: {', '.join(other_first)}"]
            if other_first
            else []
        ),
    )
    return found, notes


def recording(root: Path, stem: Path) -> Header:
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
    others = sorted({each.file for each in header.signals} - {signal.name})
    if others or header.segments:
        named = others or [name for name, _ in header.segments]
        raise QuarantineError("path-traversal", f"{path.name} names the file {named[0]!r}")
    if not signal.is_file():
        raise QuarantineError("missing-signal-file", f"{signal.name} does not exist")
    return header


def comments(path: Path) -> str:
    """Return the comment lines of a header."""
    lines = map(str.lstrip, re.split(r"[\r\n\v\f]", header_text(path)))
    return "\n".join(line for line in lines if line.startswith("#"))


def listed(root: Path, name: str, suffix: str = ".hea", above: tuple[Path, ...] = ()) -> list[str]:
    """Read a list of records and, where it names folders, their RECORDS; each record once.

    Parameters
    ----------
    root, name
        The source's folder, and the list's path in it.
    suffix
        Left out of the records' names.
    above
        The lists that led to this one.

    Raises
    ------
    BadInputError
        If a list is missing, lies outside `root`, cannot be read or leads to itself.
    """
    path = root / name
    if not is_inside(root, path):
        raise BadInputError(f"{name} lies outside the source folder {root}")
    if path.resolve() in above:
        raise BadInputError(f"{path.resolve()} leads to itself")
    above = (*above, path.resolve())
    folder = PurePosixPath(name).parent
    records: dict[str, None] = {}
    for line in read_names(path, (suffix,)):
        entry = (folder / without_suffix(line, path.parent, suffix)).as_posix()
        if not line.endswith("/"):
            records[entry] = None
        elif entry != folder.as_posix():
            records.update(dict.fromkeys(listed(root, f"{entry}/{RECORDS}", suffix, above)))
    return list(records)


def without_suffix(name: str, folder: Path, suffix: str = ".hea") -> str:
    """Return a record's name; a list in `folder` may name its header, or its signal file."""
    own = SUFFIXES if suffix in SUFFIXES else (suffix,)
    bare = next((name.removesuffix(end) for end in own if name.endswith(end)), name)
    return name if bare != name and (folder / f"{name}{suffix}").is_file() else bare


def _bare(folder: Path, name: str, suffix: str = "") -> Path:
    """Return a file that a header names, which must lie in the folder of the header."""
    path = folder / f"{name}{suffix}"
    bare = name not in (".", "..") and not re.search(r"[/\\\0]", name)
    if not bare or (path.is_symlink() and not is_inside(folder, path)):
        raise QuarantineError("path-traversal", f"the header names the file {name!r}")
    return path


def _length(folder: Path, header: Header, surplus: bool = False) -> int:
    """Check that the signal files are there and as long as stated, and return the frames."""
    if header.segments:
        return header.n_samples or 0
    length = header.n_samples
    for group in header.groups:
        path = _bare(folder, group[0].file)
        if not path.is_file():
            raise QuarantineError("missing-signal-file", f"{group[0].file} does not exist")
        length = check_length(path, group, length, surplus)
    return length or 0


def _check_size(header: Header, samples: int) -> None:
    if samples > LARGEST_READ:
        raise QuarantineError(
            "unreadable-header",
            f"{header.name}: {samples} samples, more than are read at once ({LARGEST_READ}); "
            "window_seconds reads a part",
        )


def _cut(name: str, channel: Channel, signal: Signal, start: int, stop: int) -> Channel:
    """Return the frames from `start` to before `stop`, of a skewed signal so many frames later."""
    first, last = ((edge + signal.skew) * signal.per_frame for edge in (start, stop))
    if (first, last) == (0, len(channel.samples)):
        return channel
    check_sum(name, signal.lead, channel)
    return replace(channel, samples=channel.samples[first:last], checksum=None)


def _joined(
    folder: Path, header: Header, start: int, stop: int | None, lead_names: Mapping[str, str]
) -> Decoded:
    """Read a record of several segments: NaN between them, and where one lacks a lead."""
    stop = header.n_samples or 0 if stop is None else stop
    places, at = [], 0
    for name, length in header.segments:
        first, last = max(start, at), min(stop, at + length)
        if first < last and name != GAP:
            places.append((_segment(folder, header, name, length), at, first, last))
        at += length
    if not places:
        raise QuarantineError("nan-samples", f"{header.name} has nothing recorded from {start}")
    names = {lead for own, _, _, _ in places for lead in own.leads}
    width = max(each.per_frame for own, _, _, _ in places for each in own.signals)
    _check_size(header, (stop - start) * len(names) * width)
    parts = [
        (first, decode(folder, own, first - at, last - at, lead_names))
        for own, at, first, last in places
    ]
    rates = sorted({part.fs for _, part in parts})
    if len(rates) > 1:
        rate, other = rates[:2]
        detail = f"segments of {header.name} have {rate:g} and {other:g} Hz"
        raise QuarantineError("wrong-rate", detail)
    leads = tuple(dict.fromkeys(lead for _, part in parts for lead in part.leads))
    step = round(rates[0] / header.fs)
    signal = np.full((len(leads), (stop - start) * step), np.nan, dtype=np.float32)
    for first, part in parts:
        rows = [leads.index(lead) for lead in part.leads]
        at = (first - start) * step
        signal[rows, at : at + part.signal.shape[1]] = part.signal
    if len({corrected(part.gain) for _, part in parts if part.gain}) > 1:
        detail = f"the gain is misstated in some segments of {header.name}, and not in others"
        raise QuarantineError("bad-gain", detail)
    found = [note for _, part in parts for note in part.notes]
    if header.n_signals is not None and header.n_signals > len(names):
        stated = f"the header states {header.n_signals} signals"
        found.append(f"{stated}, what is read of its segments {len(names)}")
    notes = dict.fromkeys(found)
    return Decoded(signal, rates[0], leads, tuple(notes))


def _segment(folder: Path, header: Header, name: str, length: int) -> Header:
    """Read the header of a segment, which must be what the record says of it."""
    own = read_header(_bare(folder, name, ".hea"))
    if own.segments:
        raise QuarantineError("unreadable-header", f"{header.name}: segment {name} has segments")
    if own.fs != header.fs or own.n_samples not in (None, length):
        raise QuarantineError(
            "wrong-rate",
            f"{header.name} states {length} samples at {header.fs:g} Hz for segment {name}, "
            f"{own.name} {own.n_samples} at {own.fs:g} Hz",
        )
    return replace(own, n_samples=length)
