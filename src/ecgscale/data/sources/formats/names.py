"""How files spell leads and voltages."""

import re
from collections.abc import Mapping

from ecgscale.data.gate import MILLIVOLTS
from ecgscale.data.record import canonical_lead
from ecgscale.data.sources.base import QuarantineError

SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
"""Seconds per unit of time, by the unit's lower-case name."""

_MICRO, _MILLI, _VOLT = "uV", "mV", "V"
_VOLTAGES = {
    **dict.fromkeys(("uv", "µv", "μv", "uvolt", "microv", "microvolt", "microvolts"), _MICRO),
    **dict.fromkeys(("mv", "mvolt", "milliv", "millivolt", "millivolts"), _MILLI),
    **dict.fromkeys(("v", "volt", "volts"), _VOLT),
    "nv": "nV",
}
"""By lower-case spelling."""

_UNITS = "|".join(sorted(map(re.escape, (*_VOLTAGES, *SECONDS, "adu")), key=len, reverse=True))
_NAME = re.compile(
    r"(?:(?:ecg|ekg|lead|mdc_ecg_lead)(?: +|[_:.-]))*"
    r"(?P<name>.+?)"
    r"(?:[ _-]ref(?:erence)?)?"
    rf"(?:[ _]*[(\[] *(?P<unit>{_UNITS}) *[)\]]|[ _](?P<bare>[nuµμm]v|ms|sec|seconds))?",
    re.IGNORECASE,
)


def voltage(unit: str) -> str:
    """Return the unit as `ecgscale.data.gate` names it, or the text itself if it is no voltage.

    Examples
    --------
    >>> voltage("µV"), voltage("Millivolt"), voltage("mmHg")
    ('uV', 'mV', 'mmHg')
    """
    return _VOLTAGES.get(unit.strip().lower(), unit.strip())


def spelled(text: str) -> tuple[str, str]:
    """Return a signal's name without what devices write around it, and the unit in it or "".

    Examples
    --------
    >>> spelled("EKG avr"), spelled("ECG V1-Ref"), spelled("Lead I (mV)"), spelled("time_ms")
    (('aVR', ''), ('V1', ''), ('I', 'mV'), ('time', 'ms'))
    >>> spelled("V1-V2"), spelled("-aVR")
    (('V1-V2', ''), ('-aVR', ''))
    """
    match = _NAME.fullmatch(text.strip())
    if match is None:
        return text.strip(), ""
    return canonical_lead(match["name"]), match["unit"] or match["bare"] or ""


def lead_of(text: str, lead_names: Mapping[str, str]) -> str:
    """Return the lead that a signal's name means: by `lead_names`, or as `spelled`.

    Examples
    --------
    >>> lead_of("MLII", {"MLII": "II"}), lead_of("ECG MLII", {"MLII": "II"})
    ('II', 'II')
    """
    name, _ = spelled(text)
    return canonical_lead(lead_names.get(text.strip(), lead_names.get(name, name)))


def check_unit(file: str, name: str, stated: str) -> None:
    """Compare the unit in a signal's name with the one that is stated for its samples ("adu").

    Raises
    ------
    QuarantineError
        If they differ (bad-gain).
    """
    unit = spelled(name)[1]
    if unit and MILLIVOLTS.get(voltage(unit).lower()) != MILLIVOLTS.get(voltage(stated).lower()):
        detail = f"{file} names a signal {name!r}, units: {stated} is stated"
        raise QuarantineError("bad-gain", detail)
