"""Arrays of samples: ``.npy`` files, and an ``.npz`` file of many records."""

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ecgscale.data.sources.base import LONGEST_DETAIL, Decoded, QuarantineError
from ecgscale.data.sources.description import FolderDescription
from ecgscale.data.sources.formats.columns import admit_columns
from ecgscale.data.sources.formats.signals import unreadable
from ecgscale.errors import BadInputError

DEFLATE = 1032
"""Most bytes that zlib makes of one."""


def read_archive(path: Path, names: str, leads: int) -> tuple[list[str], npt.NDArray[np.int16]]:
    """Read an ``.npz`` file that holds many records.

    Parameters
    ----------
    names
        Its array with the records' names.
    leads
        How many leads there must be.

    Returns
    -------
    The names, and its array `signals` of shape (record, lead, time).

    Raises
    ------
    BadInputError
        If the file cannot be read, or its arrays have other shapes or types.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            _check_claims(path, archive.zip)
            uids, signals = np.asarray(archive[names]).ravel(), np.asarray(archive["signals"])
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except Exception as error:  # a damaged file makes numpy and zipfile raise nearly anything
        reason = " ".join(str(error).split())[:LONGEST_DETAIL]
        problem = f"{path} is not an .npz file with 'signals' and {names!r}: {reason}"
        raise BadInputError(problem) from error
    if signals.dtype != np.int16 or signals.ndim != 3 or signals.shape[:2] != (len(uids), leads):
        raise BadInputError(
            f"{path}: signals must be int16 of shape ({len(uids)}, {leads}, time), one for each of "
            f"{names}, not {signals.dtype} {signals.shape}"
        )
    return list(map(str, uids)), signals


def read_array(path: Path) -> npt.NDArray[Any]:
    """Map an npy file into memory.

    Raises
    ------
    QuarantineError
        If it holds no array of numbers (unreadable-header).
    """
    try:
        with path.open("rb") as file:
            claimed = _claimed(file)
        if claimed > path.stat().st_size:
            raise ValueError(f"it claims {claimed} bytes")
        samples = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # as above
        raise unreadable(path, error) from error
    if not isinstance(samples, np.ndarray) or samples.dtype.kind not in "iuf":
        raise QuarantineError("unreadable-header", f"{path.name} is no array of numbers")
    return samples


def admit_array(samples: npt.NDArray[Any], stated: FolderDescription, name: str) -> Decoded:
    """Return samples as a description says they are to be read.

    Parameters
    ----------
    samples
        Shape (lead, time) or (time, lead), or (time,) of one lead: the axis with as many entries as
        there are leads is the leads'.
    name
        The file's, for the message.

    Raises
    ------
    QuarantineError
        If they have another shape, or both axes are as long as there are leads (missing-lead), or
        as `admit_columns`.
    """
    leads = len(stated.leads or ())
    samples = samples[None] if samples.ndim == 1 and leads == 1 else samples
    if samples.ndim != 2 or samples.shape.count(leads) != 1:
        raise QuarantineError(
            "missing-lead", f"{name} has the shape {samples.shape}, {leads} leads"
        )
    return admit_columns(name, list(samples if samples.shape[0] == leads else samples.T), stated)


def _check_claims(path: Path, archive: zipfile.ZipFile) -> None:
    """Check that no array is larger than its part of the file can be, before memory is taken."""
    held = path.stat().st_size
    for member in archive.infolist():
        with archive.open(member) as file:
            claimed = _claimed(file)
        if claimed > min(member.file_size, DEFLATE * held):
            raise ValueError(f"{member.filename} claims {claimed} bytes")


def _claimed(file: IO[bytes]) -> int:
    """Return how many bytes the array has by the header of its file."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, kind = read[np.lib.format.read_magic(file)](file)
    return math.prod(shape) * kind.itemsize
