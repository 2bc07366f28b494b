"""Signal files of WFDB: the samples of one file in every format, whole or from frame to frame.

Own code, where the `wfdb` package would be the first choice: that package reads what its own
header parser makes of a header (see `ecgscale.data.wfdb_header`), allocates what a header claims,
takes a file that is too long, and starts format 8 from a wrong value in the middle of a recording.
The tests compare the samples of every format with it.

Reference: https://physionet.org/physiotools/wag/signal-5.htm
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ecgscale.data.sources.base import QuarantineError
from ecgscale.data.wfdb_header import Signal

Integers = npt.NDArray[np.signedinteger[Any]]
Bytes = npt.NDArray[np.uint8]

_FLAC_CHUNK = 1 << 20
"""Frames that are read of a FLAC file at once: memory follows what is there, not what is stated."""


@dataclass(frozen=True)
class Format:
    """How samples lie in a file.

    Attributes
    ----------
    samples, size
        A block: so many samples in so many bytes.
    read
        Blocks, shape (block, byte), to samples in their order.
    invalid
        The value that means "no measurement".
    tail
        Bytes of a last block that is not full, by its number of samples.
    """

    samples: int
    size: int
    read: Callable[[Bytes], Integers]
    invalid: tuple[int, ...]
    tail: tuple[int, ...] = ()

    def bytes_of(self, samples: int) -> int:
        """Return how many bytes so many samples take at least."""
        blocks, rest = divmod(samples, self.samples)
        return blocks * self.size + (self.tail[rest - 1] if rest else 0)

    def padded(self, samples: int) -> int:
        """Return how many bytes so many samples take in whole blocks."""
        return math.ceil(samples / self.samples) * self.size


def _plain(kind: str, shift: int = 0) -> Callable[[Bytes], Integers]:
    def read(blocks: Bytes) -> Integers:
        values = blocks.reshape(-1).view(kind)
        if shift:
            return (values.astype(np.int32) - shift).astype(np.int16)
        return values

    return read


def _signed(values: npt.NDArray[np.int16], bits: int) -> Integers:
    """Return samples of so many bits, two's complement, that were put together as positive."""
    return values - ((values >> (bits - 1)) << bits).astype(np.int16)


def _read_24(blocks: Bytes) -> Integers:
    high = blocks[:, 2].view(np.int8).astype(np.int32) << 16
    return high | blocks[:, 1].astype(np.int32) << 8 | blocks[:, 0]


def _read_212(blocks: Bytes) -> Integers:
    a, b, c = blocks.T.astype(np.int16)
    return _signed(np.stack([a | (b & 15) << 8, c | (b >> 4) << 8], axis=1).reshape(-1), 12)


def _read_310(blocks: Bytes) -> Integers:
    a, b, c, d = blocks.T.astype(np.int16)
    rows = [a >> 1 | (b & 7) << 7, c >> 1 | (d & 7) << 7, b >> 3 | (d >> 3) << 5]
    return _signed(np.stack(rows, axis=1).reshape(-1), 10)


def _read_311(blocks: Bytes) -> Integers:
    a, b, c, d = blocks.T.astype(np.int16)
    rows = [a | (b & 3) << 8, b >> 2 | (c & 15) << 6, c >> 4 | (d & 63) << 4]
    return _signed(np.stack(rows, axis=1).reshape(-1), 10)


FORMATS = {
    "8": Format(1, 1, _plain("i1"), ()),
    "16": Format(1, 2, _plain("<i2"), (-(2**15),)),
    "24": Format(1, 3, _read_24, (-(2**23),)),
    "32": Format(1, 4, _plain("<i4"), (-(2**31),)),
    "61": Format(1, 2, _plain(">i2"), (-(2**15),)),
    "80": Format(1, 1, _plain("u1", 128), (-(2**7),)),
    "160": Format(1, 2, _plain("<u2", 32768), (-(2**15),)),
    "212": Format(2, 3, _read_212, (-(2**11),), (2,)),
    "310": Format(3, 4, _read_310, (-(2**9),), (2, 4)),
    "311": Format(3, 4, _read_311, (-(2**9),), (2, 3)),
}
"""By the number that a header gives them; 8 holds differences, without an invalid value."""

FLAC = {"508": 8, "516": 16, "524": 24}
"""Compressed formats to the bits of a sample."""


def check_length(path: Path, group: list[Signal], stated: int | None, surplus: bool = False) -> int:
    """Check how many frames a file holds before any is read, and return it.

    A last block that is padded to its full size is no surplus.

    Parameters
    ----------
    path
        The file.
    group
        The signals in it.
    stated
        Frames that the header states.
    surplus
        Whether the file may be longer.

    Raises
    ------
    QuarantineError
        With reason truncated-signal, wrong-rate (more samples than stated) or unreadable-header (no
        such format; no length stated where a format leaves it open; damaged FLAC).
    """
    form, frame = group[0].format, sum(each.per_frame for each in group)
    if form in FLAC:
        with _open_flac(path, group) as file:
            held = (file.frames - group[0].offset) / group[0].per_frame
            least = most = held if stated is None else stated
    elif form in FORMATS:
        layout = FORMATS[form]
        if stated is None and layout.tail:
            detail = f"{path.name}: no length is stated, and format {form} needs it"
            raise QuarantineError("unreadable-header", detail)
        size = max(path.stat().st_size - group[0].offset, 0)
        held = size / layout.size * layout.samples / frame
        least = most = held
        if stated is not None:
            least = layout.bytes_of(stated * frame) / layout.size * layout.samples / frame
            most = max(least, layout.padded(stated * frame) / layout.size * layout.samples / frame)
    else:
        raise QuarantineError("unreadable-header", f"{path.name}: format {form} is not read")
    wanted = int(held) if stated is None else stated
    if held < least or wanted < 1:
        raise QuarantineError(
            "truncated-signal", f"{path.name} holds {held:.10g} of {wanted} samples per lead"
        )
    if (held > most and not surplus) or (stated is None and held != wanted):
        raise QuarantineError(
            "wrong-rate",
            f"{path.name} holds {held:.10g} samples per lead, the header states {wanted}",
        )
    return wanted


def read_frames(path: Path, group: list[Signal], start: int, stop: int) -> list[Integers]:
    """Read the frames from `start` to before `stop` of a file whose length is checked.

    Returns
    -------
    list of numpy.ndarray
        For each signal of `group` its samples, as digitised.

    Raises
    ------
    QuarantineError
        If the file ends before (truncated-signal) or is damaged FLAC (unreadable-header).
    """
    if group[0].format in FLAC:
        return _read_flac(path, group, start, stop)
    layout, width = FORMATS[group[0].format], sum(each.per_frame for each in group)
    differences = group[0].format == "8"  # which only mean something from the first on
    first, last = (0 if differences else start) * width, stop * width
    block = first // layout.samples
    wanted = layout.bytes_of(last) - block * layout.size
    data = np.fromfile(path, np.uint8, wanted, offset=group[0].offset + block * layout.size)
    if len(data) < wanted:
        raise QuarantineError("truncated-signal", f"{path.name} ends before sample {stop}")
    short = -len(data) % layout.size
    data = np.pad(data, (0, short)) if short else data
    samples = layout.read(data.reshape(-1, layout.size))
    before = first - block * layout.samples
    frames = samples[before : before + last - first].reshape(-1, width)
    signals = _split(frames, group)
    if differences:
        initial = [each.initial or 0 for each in group]
        signals = [np.cumsum(x, dtype=np.int64) + y for x, y in zip(signals, initial, strict=True)]
        signals = [x[start * each.per_frame :] for x, each in zip(signals, group, strict=True)]
    return signals


def _split(frames: Integers, group: list[Signal]) -> list[Integers]:
    """Return the samples of each signal from frames of shape (frame, sample of all signals)."""
    if len(group) == frames.shape[1]:
        return list(np.ascontiguousarray(frames.T))
    ends = np.cumsum([each.per_frame for each in group])[:-1]
    return [part.reshape(-1) for part in np.split(frames, ends, axis=1)]


def _open_flac(path: Path, group: list[Signal]) -> Any:
    """Open a FLAC file that holds the signals of `group`."""
    import soundfile

    try:
        file = soundfile.SoundFile(path)
    except (RuntimeError, TypeError, ValueError) as error:
        why = getattr(error, "error_string", error)  # without the path, which is this machine's
        raise QuarantineError("unreadable-header", f"{path.name}: {why}") from error
    bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}.get(file.subtype, math.inf)
    if (
        *(file.format, file.channels, len({each.per_frame for each in group})),
        bits <= FLAC[group[0].format],
    ) != ("FLAC", len(group), 1, True):
        file.close()
        detail = (
            f"{path.name} is {file.format} of {file.channels} channels, {file.subtype}, not format "
            f"{group[0].format} of {len(group)} signals"
        )
        raise QuarantineError("unreadable-header", detail)
    return file


def _read_flac(path: Path, group: list[Signal], start: int, stop: int) -> list[Integers]:
    per_frame = group[0].per_frame
    wanted, parts = (stop - start) * per_frame, []
    with _open_flac(path, group) as file:
        try:
            file.seek(group[0].offset + start * per_frame)
            while wanted > 0:
                part = file.read(min(wanted, _FLAC_CHUNK), dtype="int32", always_2d=True)
                if not len(part):
                    break
                parts.append(part)
                wanted -= len(part)
        except (RuntimeError, ValueError) as error:
            why = getattr(error, "error_string", error)
            raise QuarantineError("truncated-signal", f"{path.name}: {why}") from error
        bits = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}[file.subtype]
    if wanted:
        raise QuarantineError("truncated-signal", f"{path.name} ends before sample {stop}")
    return list((np.concatenate(parts) >> (32 - bits)).T)


def invalid_of(signal: Signal) -> tuple[int, ...]:
    """Return the sample values of a signal's format that mean "no measurement"."""
    bits = FLAC.get(signal.format)
    return (-(2 ** (bits - 1)),) if bits else FORMATS[signal.format].invalid
