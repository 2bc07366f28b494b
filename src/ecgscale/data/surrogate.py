"""Phase-randomised surrogates of recordings: what is left of an ECG without its shape.

A surrogate has the power spectrum of each lead and the cross-spectrum of each pair of leads of its
recording, and is otherwise noise: beats, intervals and everything else that depends on how
frequencies stand to each other are gone. The method is Theiler et al. 1992 (Physica D 58:77), for
several channels Prichard and Theiler 1994 (Phys. Rev. Lett. 73:951).
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Stored = npt.NDArray[np.int16]


def surrogates(signal: Stored, valid: npt.ArrayLike, keys: Sequence[str], seed: int) -> Stored:
    """Return a surrogate of each recording.

    The Fourier coefficient of lead l at frequency f is multiplied by exp(i phi(f)), with phi
    uniform on [0, 2 pi) and the same for all leads; mean and Nyquist frequency stay as they are.
    Rounding to whole microvolts is all that spectra change by. A window is taken as one period, so
    a step from its end to its beginning is part of its spectrum.

    Parameters
    ----------
    signal
        Shape (record, lead, time), microvolts.
    valid
        Shape (record,), samples before the padding at the end, which stays.
    keys
        Names the records: the surrogate of a record is the same in whatever list it stands.
    seed
        Another seed gives other phases.

    Returns
    -------
    array
        Shape (record, lead, time), int16.

    Examples
    --------
    >>> wave = np.rint(1000 * np.sin(np.arange(200) / 5)).astype(np.int16).reshape(1, 1, 200)
    >>> made = surrogates(wave, [200], ["clinic/1"], seed=0)
    >>> bool(abs(made - wave).max() > 500), round(float(made.std() / wave.std()), 2)
    (True, 1.0)
    """
    made = signal.copy()
    limits = np.iinfo(np.int16)
    for record, (length, key) in enumerate(zip(np.asarray(valid), keys, strict=True)):
        spectrum = np.fft.rfft(signal[record, :, :length], axis=1)
        turned = slice(1, (length + 1) // 2)
        phases = _generator(key, seed).uniform(0, 2 * np.pi, spectrum[0, turned].shape)
        spectrum[:, turned] *= np.exp(1j * phases)
        wave = np.fft.irfft(spectrum, n=length, axis=1)
        made[record, :, :length] = np.rint(wave).clip(limits.min, limits.max)
    return made


def _generator(key: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
