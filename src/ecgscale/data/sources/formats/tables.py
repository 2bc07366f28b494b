"""Tables of samples: a column a lead, in ``.csv`` and ``.parquet`` files."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecgscale.data.record import LEADS
from ecgscale.data.sources.base import Decoded, QuarantineError
from ecgscale.data.sources.description import FolderDescription
from ecgscale.data.sources.formats.columns import admit_columns
from ecgscale.data.sources.formats.names import SECONDS, check_unit, lead_of, spelled
from ecgscale.data.sources.formats.signals import unreadable

Column = npt.NDArray[Any]
Chosen = tuple[list[int], int | None]
"""Places of the columns that are read, and of a column of times."""

LARGEST = 2**25
"""Samples that a packed file may hold if they are more than its bytes."""

TIMES = ("t", "time", "times", "timestamp", "seconds", "elapsed time", "ms", "sec")
"""Lower-case names of columns that say when a sample was taken."""

_BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_EMPTY = ("", "na", "n/a", "null", "none")
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|\Z)")
_INDEX_OF_PANDAS = re.compile(r"__index_level_\d+__")


def read_csv(path: Path, stated: FolderDescription) -> Decoded:
    """Read a csv file as a description says.

    With a header, columns are found by name: those of `columns`, or those that are named like the
    leads. A header that names anything but the leads and a column of times is refused, as is one
    where none is stated; only a file without a header is read by position.

    Raises
    ------
    QuarantineError
        With reason unreadable-header (a header where none is stated, or none where one is),
        missing-lead, repeated-lead, bad-gain (a unit in the header contradicts `units`), wrong-rate
        (a column of times contradicts `fs`), nan-samples (a cell is no number), truncated-signal
        (rows of other lengths, or none), or as the gate.
    """
    columns, time, notes = _csv_columns(
        path,
        lambda names: _choose(path.name, names, stated),
        (stated.delimiter, stated.decimal, stated.header),
        stated.standard_leads,
    )
    return _admitted(path.name, columns, time, notes, stated)


def read_parquet(path: Path, stated: FolderDescription) -> Decoded:
    """Read a parquet file as a description says; columns are found as `read_csv` finds them.

    Raises
    ------
    QuarantineError
        As `read_csv`.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            places, time = _choose(path.name, names, stated)
            wanted = [names[place] for place in (*places, *([] if time is None else [time]))]
            index = _index(path.name, file.schema_arrow)
            if index in wanted[: len(places)]:
                index = None
            elif index is not None and index not in wanted:
                wanted.append(index)
            samples = file.metadata.num_rows * len(wanted)
            if samples > max(LARGEST, path.stat().st_size):
                raise QuarantineError("unreadable-header", f"{path.name} claims {samples} samples")
            table = file.read(wanted, use_threads=False)
        if index is not None:
            _check_index(path.name, index, table[index], float(stated.fs or 0.0))
            wanted = wanted[: len(places) + (time is not None)]
        columns = [_numbers(path.name, table[name], pa) for name in wanted]
    except QuarantineError:
        raise
    except Exception as error:  # a damaged file makes Arrow raise nearly anything
        raise unreadable(path, error) from error
    times = None if time is None else (names[time], columns.pop())
    return _admitted(path.name, columns, times, (), stated)


def read_columns(path: Path, columns: tuple[str, ...], delimiter: str) -> npt.NDArray[np.float64]:
    """Read named columns of a csv file with a header: shape (time, column), NaN for empty cells.

    Raises
    ------
    QuarantineError
        With reason missing-lead (no such column), repeated-lead, nan-samples (a cell is no number),
        unreadable-header or truncated-signal.
    """
    found, _, _ = _csv_columns(
        path, lambda names: (_named(path.name, names, columns), None), (delimiter, ".", True), ()
    )
    return np.stack(found, axis=1)


def _admitted(
    name: str,
    columns: list[Column],
    time: tuple[str, Column] | None,
    notes: tuple[str, ...],
    stated: FolderDescription,
) -> Decoded:
    if time is not None:
        notes = (*notes, *_check_times(name, *time, float(stated.fs or 0.0)))
    return admit_columns(name, columns, stated, notes)


def _csv_columns(
    path: Path,
    choose: Callable[[Sequence[str]], Chosen],
    layout: tuple[str, str, bool],
    leads: Sequence[str],
) -> tuple[list[Column], tuple[str, Column] | None, tuple[str, ...]]:
    """Read columns and, with its name, that of times.

    Parameters
    ----------
    choose
        Which columns, given the names in the header.
    layout
        What stands between cells, the decimal point, and whether names come first.
    leads
        Of the columns, if there is no header.
    """
    delimiter, decimal, header = layout
    data, notes = _text(path)
    comment, first, start, following = _first_line(data, delimiter)
    if first is None:
        raise QuarantineError("truncated-signal", f"{path.name} is empty")
    count = len(first)
    if not first[-1] and all(line.endswith(delimiter.encode()) for line in _lines(data[start:])):
        first = first[:-1]  # every line ends in one delimiter too many
    chosen = _of_comment(comment, len(first), delimiter, choose)
    numbers = _are_numbers(first, decimal)
    names: Sequence[str] = first
    if chosen is not None and not numbers and _as_chosen(first, choose):
        # The comment repeats the first line.
        start, (places, time) = following, choose(first)
        if chosen[0] != (places, time):
            detail = f"the first line of {path.name} and the comment before it name other columns"
            raise QuarantineError("unreadable-header", detail)
    elif chosen is not None:
        (places, time), names = chosen
    elif header:
        start = following
        if numbers and not _as_chosen(first, choose):
            detail = f"{path.name} starts with numbers, not with names; `header: false` reads those"
            raise QuarantineError("unreadable-header", detail)
        places, time = choose(first)
    else:
        if not numbers:
            detail = f"{path.name} starts with {first[0]!r}, no number; `header: true` reads names"
            raise QuarantineError("unreadable-header", detail)
        if len(first) != len(leads):
            detail = f"{path.name} has {len(first)} columns for {len(leads)} leads"
            raise QuarantineError("missing-lead", detail)
        places, time = list(range(len(leads))), None
    columns = _parse(path.name, data[start:], count, (places, time), delimiter, decimal)
    times = None if time is None else (names[time], columns.pop())
    return columns, times, notes


def _text(path: Path) -> tuple[bytes, tuple[str, ...]]:
    """Return a file's content as UTF-8, and a note if it was not."""
    data = path.read_bytes()
    notes: tuple[str, ...] = ()
    try:
        for mark, codec in _BOMS.items():
            if data.startswith(mark):
                data = data[len(mark) :].decode(codec).encode()
        if not data.isascii():
            data.decode()
    except UnicodeDecodeError:
        # Columns are chosen by names that the description states, so a wrong guess chooses none.
        data, notes = data.decode("latin-1").encode(), ("not in UTF-8, read as Latin-1",)
    if b"\0" in data:
        raise QuarantineError("unreadable-header", f"{path.name} is not text")
    return data.replace(b"\r\r\n", b"\n"), notes


def _first_line(data: bytes, delimiter: str) -> tuple[str, list[str] | None, int, int]:
    """Return the last comment, the first line's cells, and where it starts and ends."""
    comment, place = "", 0
    while place < len(data):
        match = _LINE.match(data, place)
        if match is None:
            break
        line = match[1].decode()
        if line.startswith("#"):
            comment = line.lstrip("# ")
        elif line.strip(f"{delimiter} \t"):
            return comment, _cells(line, delimiter), place, match.end()
        place = match.end()
    return comment, None, place, place


def _lines(data: bytes) -> list[bytes]:
    return [line for line in data.replace(b"\r", b"\n").split(b"\n") if line]


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        (cells,) = csv.reader([line], delimiter=delimiter, skipinitialspace=True)
    except csv.Error as error:
        raise QuarantineError("unreadable-header", f"the first line: {error}") from error
    return [cell.strip().strip("'").strip() for cell in cells]


def _are_numbers(cells: Sequence[str], decimal: str) -> bool:
    filled = [cell for cell in cells if cell.lower() not in _EMPTY]
    try:
        [float(cell.replace(decimal, ".")) for cell in filled]
    except ValueError:
        return False
    return bool(filled)


def _of_comment(
    comment: str, count: int, delimiter: str, choose: Callable[[Sequence[str]], Chosen]
) -> tuple[Chosen, list[str]] | None:
    """Return what a comment chooses that names columns, as `numpy.savetxt` writes it, or None."""
    for names in (_cells(comment, delimiter) if comment else [], re.split(r"[\s,;|]+", comment)):
        if len(names) == count and any(spelled(name)[0] in LEADS for name in names):
            return choose(names), names
    return None


def _as_chosen(names: Sequence[str], choose: Callable[[Sequence[str]], Chosen]) -> bool:
    """Whether names that are numbers are those of the columns that are asked for."""
    try:
        choose(names)
    except QuarantineError:
        return False
    return True


def _parse(
    name: str, body: bytes, count: int, chosen: Chosen, delimiter: str, decimal: str
) -> list[Column]:
    import pyarrow as pa
    from pyarrow import csv as arrow

    places, time = chosen
    wanted = [*places, *([] if time is None else [time])]
    try:
        table = arrow.read_csv(
            pa.BufferReader(body.rstrip(b"\r\n")),
            arrow.ReadOptions(use_threads=False, column_names=list(map(str, range(count)))),
            # An empty line in between is a missing sample, and not to be passed over.
            arrow.ParseOptions(delimiter=delimiter, ignore_empty_lines=False),
            arrow.ConvertOptions(
                decimal_point=decimal,
                column_types={str(place): pa.float64() for place in places},
                include_columns=list(map(str, wanted)),
            ),
        )
    except pa.ArrowInvalid as error:
        text = str(error).splitlines()[0]
        reason = "nan-samples" if "conversion error" in text else "truncated-signal"
        raise QuarantineError(reason, f"{name}: {text[:200]}") from error
    columns = [table[str(place)].to_numpy() for place in places]
    return columns if time is None else [*columns, _as_times(table[str(time)], pa)]


def _numbers(name: str, column: Any, pa: Any) -> Column:
    """Return a column of a parquet file, as integers where it has integers and no gaps."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        column = column.cast(kind)
    types = pa.types
    if types.is_temporal(kind):
        return _as_times(column, pa)
    if types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (types.is_integer(kind) or types.is_floating(kind)):
        raise QuarantineError("nan-samples", f"a column of {name} holds {kind}, no numbers")
    cells: Column = column.to_numpy()
    if column.null_count and types.is_signed_integer(kind):
        cells[cells == np.iinfo(kind.to_pandas_dtype()).min] = np.nan  # the gate sees floats here
    return cells


def _index(name: str, schema: Any) -> str | None:
    """Return the column that pandas wrote its index to, if it did.

    Raises
    ------
    QuarantineError
        If the index, of which there is no column, counts down (wrong-rate).
    """
    known = (schema.pandas_metadata or {}).get("index_columns") or []
    names = [each for each in known if isinstance(each, str)]
    if any(isinstance(each, dict) and (each.get("step") or 1) < 0 for each in known):
        raise QuarantineError("wrong-rate", f"the rows of {name} are in another order than time")
    left = [each for each in schema.names if _INDEX_OF_PANDAS.fullmatch(each)]
    return next((each for each in (*names, *left) if each in schema.names), None)


def _check_index(name: str, index: str, column: Any, fs: float) -> None:
    """Check that an index goes up in equal steps, and one of clock times at the stated rate.

    Raises
    ------
    QuarantineError
        If not (wrong-rate).
    """
    import pyarrow as pa

    if pa.types.is_temporal(column.type):
        _check_times(name, index, _as_times(column, pa), fs)
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        numbers = np.asarray(column.to_numpy(), dtype=np.float64)
        _check_steps(name, index, numbers)
        if pa.types.is_integer(column.type) and len(np.unique(np.diff(numbers))) > 1:
            raise QuarantineError("wrong-rate", f"column {index!r} of {name} has gaps")


def _as_times(column: Any, pa: Any) -> Column:
    """Return times as numbers, those of a clock in seconds; without any where they are neither."""
    types = pa.types
    if types.is_timestamp(column.type) or types.is_time(column.type):
        if types.is_time32(column.type):
            column = column.cast(pa.time64("ns"))
        elif types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ns"))
        factor = 1e-9 if "[ns" in str(column.type) else 1e-6
        ticks = column.cast(pa.int64()).to_numpy()
        return np.asarray((ticks - ticks[0]) * factor if len(ticks) else ticks, dtype=np.float64)
    if types.is_integer(column.type) or types.is_floating(column.type):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    return np.empty(0)


def _choose(file: str, names: Sequence[str], stated: FolderDescription) -> Chosen:
    """Find the columns of the leads by name, and one of times."""
    leads = stated.standard_leads
    times = [place for place, name in enumerate(names) if spelled(name)[0].lower() in TIMES]
    if stated.columns is not None:
        places = _named(file, names, stated.columns)
    else:
        meant = [lead_of(name, stated.lead_names) for name in names]
        counts = Counter(lead for lead in meant if lead in leads)
        twice = [lead for lead, count in counts.items() if count > 1]
        if twice:
            raise QuarantineError("repeated-lead", f"{file} has several columns of lead {twice[0]}")
        others = [
            name
            for place, name in enumerate(names)
            if meant[place] not in leads
            and place not in times
            and not _INDEX_OF_PANDAS.fullmatch(name)
        ]
        if others or len(counts) < len(leads):
            shown = ", ".join(map(repr, names))
            raise QuarantineError(
                "missing-lead",
                f"the columns of {file} are {shown[:200]}, not the leads {', '.join(leads)}; "
                "`columns` or `lead_names` says which is which",
            )
        places = [meant.index(lead) for lead in leads]
    for place in places:
        check_unit(file, names[place], str(stated.units))
    time = next((place for place in times if place not in places), None)
    return places, time


def _named(file: str, names: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Return the places of columns, each of which must be there once."""
    for column in columns:
        if names.count(column) != 1:
            several = column in names
            reason, what = (
                ("repeated-lead", "several columns") if several else ("missing-lead", "no column")
            )
            raise QuarantineError(reason, f"{file} has {what} {column!r}")
    return [names.index(column) for column in columns]


def _check_times(name: str, column: str, times: Column, fs: float) -> tuple[str, ...]:
    """Compare a column of times, or of numbers of samples, with the stated rate.

    Raises
    ------
    QuarantineError
        If they have gaps or another rate (wrong-rate).
    """
    if len(times) < 2 or not np.isfinite(times).all():
        return (f"column {column!r} was not compared with the rate of {fs:g} Hz",)
    step = float(times[-1] - times[0]) / (len(times) - 1)
    unit = spelled(column)[1].lower() or column.lower()
    units = [SECONDS[unit]] if unit in SECONDS else [*SECONDS.values(), 1 / fs]
    fits = [each for each in units if abs(step * fs * each - 1) <= 0.01]
    if step <= 0 or not fits:
        raise QuarantineError(
            "wrong-rate", f"column {column!r} of {name} has steps of {step:g}, not of {fs:g} Hz"
        )
    _check_steps(name, column, times)
    if unit not in SECONDS and fits == [1 / fs]:
        return (f"column {column!r} goes up by 1, and is taken for numbers of samples",)
    return ()


def _check_steps(name: str, column: str, times: Column) -> None:
    """Check that times, or numbers of samples, go up in equal steps.

    Times may be rounded: their steps are then two neighbouring multiples of what they are written
    in, and differ by less than a step from the mean if that is finer than a step.

    Raises
    ------
    QuarantineError
        If they do not: samples are missing, repeated or in another order (wrong-rate).
    """
    if len(times) < 2:
        return
    apart = np.diff(times)
    step = float(times[-1] - times[0]) / len(apart)
    if not step > 0 or not apart.min() >= 0:
        detail = f"the rows of {name} are in another order than column {column!r}"
        raise QuarantineError("wrong-rate", detail)
    kinds = np.unique(np.round(apart / step, 2))
    between = np.diff(kinds)
    written = float(between[between > 0.05].min(initial=np.inf))
    if written == np.inf or (written > 1.02 and kinds[0] > 0) or abs(written - 1) <= 0.02:
        written = 0.0  # whole steps: nothing is rounded
    steady = np.abs(times - times[0] - step * np.arange(len(times))).max() / step
    smallest = float(apart[apart > 0].min()) / step
    off = np.abs(apart / step - 1).max()
    if off > max((1 + written) / 2, written) + 0.01 or steady > 0.5 + smallest:
        raise QuarantineError("wrong-rate", f"column {column!r} of {name} has gaps")
