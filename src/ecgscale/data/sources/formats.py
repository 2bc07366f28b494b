"""Files of samples without a header of their own: arrays and tables of numbers."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecgscale.data.record import canonical_lead
from ecgscale.data.sources.base import Decoded, QuarantineError
from ecgscale.data.sources.description import FolderDescription
from ecgscale.errors import BadInputError

PER_MILLIVOLT = {"mV": 1.0, "uV": 1e3, "V": 1e-3}
"""Units in one mV."""


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
            uids, signals = np.asarray(archive[names]).ravel(), np.asarray(archive["signals"])
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        problem = f"{path} is not an .npz file with 'signals' and {names!r}: {error}"
        raise BadInputError(problem) from error
    if signals.dtype != np.int16 or signals.ndim != 3 or signals.shape[:2] != (len(uids), leads):
        raise BadInputError(
            f"{path}: signals must be int16 of shape ({len(uids)}, {leads}, time), one for each of "
            f"{names}, not {signals.dtype} {signals.shape}"
        )
    return list(map(str, uids)), signals


def in_millivolts(samples: npt.NDArray[Any], stated: FolderDescription, name: str) -> Decoded:
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
        If they have another shape (missing-lead).
    """
    leads = stated.leads or ()
    samples = samples[None] if samples.ndim == 1 and len(leads) == 1 else samples
    if samples.ndim != 2 or len(leads) not in samples.shape:
        shape = samples.shape
        raise QuarantineError("missing-lead", f"{name} has the shape {shape}, {len(leads)} leads")
    samples = samples if samples.shape[0] == len(leads) else samples.T
    scale = stated.gain or PER_MILLIVOLT[stated.units or "mV"]
    signal = (samples.astype(np.float64) / scale).astype(np.float32)
    names = tuple(canonical_lead(stated.lead_names.get(name, name)) for name in leads)
    return Decoded(signal, float(stated.fs or 0.0), names)


def read_array(path: Path) -> npt.NDArray[Any]:
    """Map an npy file into memory.

    Raises
    ------
    QuarantineError
        If it holds no array of numbers (unreadable-header).
    """
    try:
        samples = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise QuarantineError("unreadable-header", f"{path.name}: {error}") from error
    if not isinstance(samples, np.ndarray) or samples.dtype.kind not in "iuf":
        raise QuarantineError("unreadable-header", f"{path.name} is no array of numbers")
    return samples


def read_columns(
    path: Path,
    columns: tuple[str, ...] | None = None,
    delimiter: str = ",",
    decimal: str = ".",
    header: bool = True,
) -> npt.NDArray[np.float64]:
    """Read shape (time, column) from a csv or parquet file; NaN where a cell is empty.

    Parameters
    ----------
    columns
        Which columns, by name; default all.
    delimiter, decimal, header
        Of a csv file: what stands between cells, the decimal point, and whether names come first.

    Raises
    ------
    QuarantineError
        With reason missing-lead (no such column), nan-samples (a cell is no number) or
        truncated-signal.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if path.suffix == ".parquet":
            table = parquet.read_table(path, use_threads=False)
        else:
            table = csv.read_csv(
                path,
                csv.ReadOptions(use_threads=False, autogenerate_column_names=not header),
                csv.ParseOptions(delimiter=delimiter),
                csv.ConvertOptions(decimal_point=decimal),
            )
        names = columns or tuple(table.column_names)
        missing = [name for name in names if name not in table.column_names]
        if missing:
            raise QuarantineError("missing-lead", f"{path.name} has no column {missing[0]!r}")
        cells = [table[name].cast(pa.float64()).to_numpy() for name in names]
    except pa.ArrowInvalid as error:
        text = str(error).splitlines()[0]
        reason = "nan-samples" if "Failed to parse" in text else "truncated-signal"
        raise QuarantineError(reason, f"{path.name}: {text}") from error
    except pa.ArrowNotImplementedError as error:
        raise QuarantineError("nan-samples", f"{path.name}: {error}") from error
    return np.stack(cells, axis=1)
