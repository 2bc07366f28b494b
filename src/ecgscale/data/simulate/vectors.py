"""The signal model: Gaussian waves of the heart's dipole, and its projection onto the leads."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DOWER: Floats = np.array(
    [
        [0.632, -0.235, 0.059],  # I
        [0.235, 1.066, -0.132],  # II
        [-0.515, 0.157, -0.917],  # V1
        [0.044, 0.164, -1.387],  # V2
        [0.882, 0.098, -1.277],  # V3
        [1.213, 0.127, -0.601],  # V4
        [1.125, 0.127, -0.086],  # V5
        [0.831, 0.076, 0.230],  # V6
    ]
)
"""Lead vectors, shape (independent lead, axis): Dower, Machado and Osborne, Clin. Cardiol. 3:87-95
(1980). Axes are Frank's: x left, y foot, z back; rows in the order of `INDEPENDENT_LEADS`."""

SEPTAL, ANTERIOR, MAIN, BASAL, LATE, EARLY, ST1, ST2, ST3, T1, T2, U = range(12)
"""Rows of a ventricular `Waves`. EARLY (necrosis, pre-excitation) and LATE (delayed conduction)
are zero in the normal heart."""

ST = slice(ST1, ST3 + 1)
QRS = slice(SEPTAL, EARLY + 1)
REPOLARISATION = slice(ST1, U + 1)
T = slice(T1, T2 + 1)

RIGHT_ATRIUM, LEFT_ATRIUM = range(2)
"""Rows of an atrial `Waves`."""


@dataclass
class Waves:
    """One beat as a sum of Gaussians in time, per axis of the dipole.

    Attributes
    ----------
    centre
        Shape (wave,), seconds after the R peak (atrial waves: after the start of the P wave);
        for repolarisation at RR = 1 s, counted from a QRS of normal width.
    width
        Shape (wave,), SD in seconds.
    vector
        Shape (wave, axis), peak in mV.
    """

    centre: Floats
    width: Floats
    vector: Floats

    def copy(self) -> "Waves":
        """Return a copy whose arrays can be changed."""
        return Waves(self.centre.copy(), self.width.copy(), self.vector.copy())


def normal_ventricles() -> Waves:
    """Return the QRS, ST, T and U of a normal heart with an axis of about +45 degrees.

    The waves follow activation: septum (left to right), anterior wall, free wall, base.
    """
    rows = [
        # centre, width, x, y, z
        (-0.032, 0.0085, -0.13, -0.03, -0.16),  # SEPTAL
        (-0.015, 0.0100, 0.30, 0.25, -0.38),  # ANTERIOR
        (0.000, 0.0115, 0.92, 0.72, 0.42),  # MAIN
        (0.025, 0.0105, -0.16, -0.12, 0.42),  # BASAL
        (0.055, 0.0150, 0.0, 0.0, 0.0),  # LATE
        (-0.028, 0.0120, 0.0, 0.0, 0.0),  # EARLY
        (0.090, 0.0330, 0.004, 0.004, -0.012),  # ST1
        (0.145, 0.0330, 0.008, 0.008, -0.020),  # ST2
        (0.195, 0.0330, 0.015, 0.015, -0.030),  # ST3
        (0.270, 0.0500, 0.16, 0.13, -0.12),  # T1
        (0.310, 0.0300, 0.14, 0.11, -0.09),  # T2
        (0.480, 0.0350, 0.010, 0.010, -0.012),  # U
    ]
    return _waves(rows)


def normal_atria() -> Waves:
    """Return the P wave of a normal heart: right atrium, then left."""
    rows = [
        (0.036, 0.0170, 0.025, 0.060, -0.030),  # RIGHT_ATRIUM
        (0.066, 0.0185, 0.060, 0.055, 0.030),  # LEFT_ATRIUM
    ]
    return _waves(rows)


def frontal(degrees: float) -> Floats:
    """Return the rotation that moves the frontal axis by so many degrees (towards the foot)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def horizontal(degrees: float) -> Floats:
    """Return the rotation about the long axis (positive: towards the back, late transition)."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])


def rotate(vectors: Floats, rotation: Floats) -> Floats:
    """Return vectors, shape (..., axis), rotated.

    Written without BLAS, whose rounding depends on the machine's threads.
    """
    rotated: Floats = np.einsum("ab,...b->...a", rotation, vectors)
    return rotated


def place(
    waves: Waves, times: Floats, stretch: Floats, amplitude: Floats, shift: float = 0.0
) -> tuple[Floats, Floats, Floats]:
    """Lay a beat out at every one of its times.

    Parameters
    ----------
    times, stretch, amplitude
        Shape (beat,): seconds; factor on the times and widths of repolarisation; factor on vectors.
    shift
        Seconds by which a wide QRS delays repolarisation.

    Returns
    -------
    Centres (gaussian,), widths (gaussian,) and vectors (gaussian, axis), for `render`.
    """
    beats, n = len(times), len(waves.centre)
    centre = np.tile(waves.centre, (beats, 1))
    width = np.tile(waves.width, (beats, 1))
    if n > REPOLARISATION.start:
        centre[:, REPOLARISATION] = centre[:, REPOLARISATION] * stretch[:, None] + shift
        width[:, REPOLARISATION] *= stretch[:, None]
    vectors = waves.vector[None] * amplitude[:, None, None]
    return (times[:, None] + centre).ravel(), width.ravel(), vectors.reshape(beats * n, 3)


def render(
    centre: Floats, width: Floats, vector: Floats, start: float, fs: float, samples: int
) -> Floats:
    """Sum Gaussians into a dipole signal.

    The model of McSharry et al. (IEEE Trans. Biomed. Eng. 50:289-294, 2003) in the three-axis form
    of Sameni et al. (EURASIP J. Adv. Signal Process. 2007:43407), with every wave placed by the
    time of its own beat instead of by a common phase: so P and QRS can part company (AV block),
    and a change of rate stretches repolarisation but not the QRS.

    Parameters
    ----------
    centre, width, vector
        Shapes (gaussian,), (gaussian,), (gaussian, axis): seconds, seconds, mV.
    start
        Time of the first sample, seconds.

    Returns
    -------
    Shape (axis, samples), mV.
    """
    reach = math.ceil(4.5 * float(width.max(initial=0.0)) * fs)
    nearest = np.rint((centre - start) * fs).astype(np.int64)
    index = nearest[:, None] + np.arange(-reach, reach + 1)
    offset = (start + index / fs - centre[:, None]) / width[:, None]
    kernel = np.exp(-0.5 * offset**2)
    inside = (index >= 0) & (index < samples)
    kernel[~inside] = 0.0
    index = np.clip(index, 0, samples - 1).ravel()
    return np.stack(
        [
            np.bincount(
                index, weights=(kernel * vector[:, axis : axis + 1]).ravel(), minlength=samples
            )
            for axis in range(3)
        ]
    )


def project(dipole: Floats, leads: Floats) -> Floats:
    """Project a dipole signal (axis, time) onto leads (lead, axis); returns (lead, time)."""
    projected: Floats = np.einsum("la,at->lt", leads, dipole)
    return projected


def _waves(rows: list[tuple[float, float, float, float, float]]) -> Waves:
    table = np.array(rows)
    return Waves(table[:, 0].copy(), table[:, 1].copy(), table[:, 2:].copy())
