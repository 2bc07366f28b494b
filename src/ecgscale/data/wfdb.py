"""WFDB records of any format, whole or in windows, and the lists that name them."""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ecgscale.data import wfdb16
from ecgscale.data.sources.base import Decoded, QuarantineError, is_inside, read_names
from ecgscale.errors import BadInputError

SUFFIXES = (".hea", ".mat", ".dat")
RECORDS = "RECORDS"

_ERRORS = (ValueError, IndexError, KeyError, TypeError, AttributeError)
"""What the `wfdb` package raises for a damaged file."""


def read_wfdb(root: Path, path: Path, start: int = 0, seconds: float | None = None) -> Decoded:
    """Read a record: format 16 in one file with `ecgscale.data.wfdb16`, the rest with `wfdb`.

    Parameters
    ----------
    root
        Files outside of it are not read.
    path
        The header.
    start, seconds
        First sample, and how much to read from there; None for all.

    Raises
    ------
    QuarantineError
        If the record cannot be read, or ends before `start` (too-short).
    """
    _check_folder(root, path)
    try:
        header = wfdb16.read_header(path)
    except QuarantineError as error:
        if error.reason != "unreadable-header" or not path.is_file():
            raise
        return _read_with_wfdb(root, path, start, seconds)
    samples = wfdb16.read_samples(path.parent, header)
    stop = len(samples) if seconds is None else start + round(seconds * header.fs)
    _check_start(path, start, len(samples), header.fs)
    signal = wfdb16.to_millivolts(samples[start:stop], header)
    return Decoded(signal, header.fs, header.leads)


def read_header(root: Path, path: Path) -> Any:
    """Return the header of a record as the `wfdb` package reads it, segments included.

    Raises
    ------
    QuarantineError
        If it lies outside `root`, cannot be read, or states no length or an impossible rate.
    """
    import wfdb

    _check_folder(root, path)
    if not path.is_file():
        raise QuarantineError("unreadable-header", f"{path.name} does not exist")
    try:
        header = wfdb.rdheader(str(path.with_suffix("")), rd_segments=True)
    except _ERRORS as error:
        raise QuarantineError("unreadable-header", f"{path.name}: {error}") from error
    if not header.fs or not wfdb16.RATES[0] <= header.fs <= wfdb16.RATES[1]:
        raise QuarantineError("wrong-rate", f"{path.name} states a rate of {header.fs} Hz")
    if not header.sig_len:
        raise QuarantineError("unreadable-header", f"{path.name} states no length")
    return header


def comments(path: Path) -> str:
    """Return the comment lines of a header."""
    lines = map(str.lstrip, path.read_bytes().decode("utf-8", errors="replace").splitlines())
    return "\n".join(line for line in lines if line.startswith("#"))


def check_file(folder: Path, name: str) -> None:
    """Check that a signal file is there, and in the folder of the header that names it.

    Raises
    ------
    QuarantineError
        With reason path-traversal or missing-signal-file.
    """
    path = folder / name
    if not is_inside(folder, path):
        raise QuarantineError("path-traversal", f"the header names the signal file {name!r}")
    if not path.is_file():
        raise QuarantineError("missing-signal-file", f"{name} does not exist")


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
        entry = (folder / line.removesuffix(suffix)).as_posix()
        if not line.endswith("/"):
            records[entry] = None
        elif entry != folder.as_posix():
            records.update(dict.fromkeys(listed(root, f"{entry}/{RECORDS}", suffix, above)))
    return list(records)


def _check_folder(root: Path, path: Path) -> None:
    if not is_inside(root, path.parent):
        raise QuarantineError("path-traversal", f"{path.name} lies outside the source's folder")


def _check_start(path: Path, start: int, samples: int, fs: float) -> None:
    if start >= samples:
        raise QuarantineError("too-short", f"{path.name} has {samples / fs:g} s")


def _read_with_wfdb(root: Path, path: Path, start: int, seconds: float | None) -> Decoded:
    import wfdb

    header = read_header(root, path)
    for part in getattr(header, "segments", None) or [header]:
        for name in (part and part.file_name) or []:
            if name != "~":  # a gap between segments
                check_file(path.parent, name)
    _check_start(path, start, header.sig_len, header.fs)
    stop = None if seconds is None else min(start + round(seconds * header.fs), header.sig_len)
    try:
        record = wfdb.rdrecord(str(path.with_suffix("")), sampfrom=start, sampto=stop)
    except _ERRORS as error:
        reason = "truncated-signal" if isinstance(error, ValueError) else "unreadable-header"
        raise QuarantineError(reason, f"{path.name}: {error}") from error
    scales = [wfdb16.MILLIVOLTS.get(unit.lower()) for unit in record.units]
    kept = [column for column, scale in enumerate(scales) if scale is not None]
    if not kept:
        raise QuarantineError("bad-gain", f"no signal of {path.name} is a voltage")
    left = [name for name, scale in zip(record.sig_name, scales, strict=True) if scale is None]
    factors = np.array([scales[column] for column in kept], dtype=np.float64)[:, None]
    return Decoded(
        signal=(record.p_signal.T[kept] * factors).astype(np.float32),
        fs=float(record.fs),
        leads=tuple(record.sig_name[column] for column in kept),
        notes=(f"not a voltage, left out: {', '.join(left)}",) if left else (),
    )
