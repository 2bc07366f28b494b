"""Limb leads that contradict each other: one is another than its name says, or has another gain."""

from typing import Any

import numpy as np
import numpy.typing as npt

FOLLOWS = {
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}
"""A lead as so much of I and of II (Einthoven 1912, Goldberger 1942)."""

TOLERANCE = 0.1
"""Part of the limb leads' standard deviation by which a lead may differ from what follows.

`benchmarks/limb_leads.py` counts how often real recordings are beyond it, and how often leads that
are swapped or have a wrong gain are found.
"""

_SAMPLES = 250


def differences(signal: npt.NDArray[np.floating[Any]], leads: tuple[str, ...]) -> dict[str, float]:
    """Return how far leads III, aVR, aVL and aVF are from what follows from I and II.

    Constant offsets do not count, nor do constant leads. Of a long recording samples are taken at
    equal distances, since the leads agree at every single one.

    Parameters
    ----------
    signal
        Shape (lead, time).
    leads
        Names in the standard spelling.

    Returns
    -------
    dict
        By lead, the standard deviation of the difference in units of that of the limb leads (root
        mean square over them); empty without I and II.
    """
    limb = [lead for lead in ("I", "II", *FOLLOWS) if lead in leads]
    if limb[:2] != ["I", "II"] or not signal.shape[1]:
        return {}
    step = max(1, signal.shape[1] // _SAMPLES)
    x = signal[[leads.index(lead) for lead in limb], ::step].astype(np.float64)
    if not np.isfinite(x).all():
        x = x[:, np.isfinite(x).all(axis=0)]
    varied = (x != x[:, :1]).any(axis=1).tolist()
    if not (varied[0] and varied[1]):
        return {}
    x -= x.mean(axis=1, keepdims=True)
    off = x[2:] - np.array([FOLLOWS[lead] for lead in limb[2:]]).reshape(-1, 2) @ x[:2]
    parts = np.sqrt((off**2).mean(axis=1) / (x**2).mean()).tolist()
    return {lead: part for lead, part, own in zip(limb[2:], parts, varied[2:], strict=True) if own}


def contradictions(
    signal: npt.NDArray[np.floating[Any]], leads: tuple[str, ...]
) -> tuple[str, ...]:
    """Say which leads differ by more than `TOLERANCE`; see `differences`."""
    far = {lead: part for lead, part in differences(signal, leads).items() if part > TOLERANCE}
    if not far:
        return ()
    text = ", ".join(f"{lead} ({part:.0%} off)" for lead, part in far.items())
    return (f"not what follows from leads I and II: {text}",)
