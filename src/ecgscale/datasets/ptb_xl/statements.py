"""PTB-XL's vocabulary: the SCP statements, and how a reader writes them under a record."""

import csv
from functools import cache
from importlib.resources import files

from ecgscale.data.simulate.pathology import (
    anterior_infarct,
    inferior_infarct,
    injury_region,
    ischaemia_region,
)
from ecgscale.data.simulate.reading import Reading

Statement = dict[str, str]

_GRADED = {"LVH", "IMI", "ASMI", "AMI", "ALMI", "ILMI", "LMI", "ISC_", "ISCAL"}
"""Statements whose likelihood says how sure the reader was; others are 100 when made."""

_BENIGN = {"SR", "SBRAD", "SARRH", "STACH", "PAC", "LPR", "HVOLT", "LVOLT"}
"""Form and rhythm statements that leave a record normal."""


def _file(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()


def statements_file() -> bytes:
    """Return ``scp_statements.csv`` as published."""
    return _file("scp_statements.csv")


@cache
def statements() -> tuple[Statement, ...]:
    """Return the 71 SCP statements, a dictionary of columns each; the code has the key ``""``."""
    return tuple(csv.DictReader(statements_file().decode().splitlines()))


@cache
def _words(kind: str) -> dict[str, str]:
    """Return the code of each finding, or each region, that a kind of statement has words for."""
    rows = csv.DictReader(_file("scp_words.csv").decode().splitlines())
    return {row["finding"]: row["code"] for row in rows if row["kind"] == kind}


def scp_codes(reading: Reading) -> dict[str, float]:
    """Return the SCP statements of a PTB-XL report with their likelihoods in percent."""
    codes = _diagnostic(reading)
    form = _form(reading, codes)
    rhythm = dict.fromkeys(_rhythm(reading), 0.0)
    if not codes and not set(form) - _BENIGN and not set(rhythm) - _BENIGN:
        codes["NORM"] = 80.0 if reading.whim[0] < 0.17 else 100.0
    return {**codes, **form, **rhythm}


def heart_axis(degrees: float) -> str:
    """Return PTB-XL's code of the frontal QRS axis."""
    limits = ((-90, "AXR"), (-30, "ALAD"), (30, "LAD"), (80, "MID"), (110, "RAD"), (180, "ARAD"))
    return next(code for limit, code in limits if degrees <= limit)


def _diagnostic(reading: Reading) -> dict[str, float]:
    variant = reading.variant
    extents = {
        "infarct_anterior": _words("infarct")[anterior_infarct(variant("infarct_anterior"))],
        "infarct_inferior": _words("infarct")[inferior_infarct(variant("infarct_inferior"))],
        "ischaemia": _words("ischaemia")[ischaemia_region(variant("ischaemia")) or ""],
        "injury": _words("injury")[injury_region(variant("injury"))],
    }
    codes = {
        code: _likelihood(reading, code, name)
        for name, code in {**_words("diagnostic"), **extents}.items()
        if reading.states(name)
    }
    if reading.states("t_change") and variant("t_change") < 0.78:
        codes["NDT"] = 100.0
    return codes


def _form(reading: Reading, codes: dict[str, float]) -> dict[str, float]:
    states, variant, whim = reading.states, reading.variant, reading.whim
    form = {code: 0.0 for name, code in _words("form").items() if states(name)}
    if "PVC" in form:
        form["PVC"] = 100.0
    if states("t_change") and variant("t_change") >= 0.78:
        form["TAB_" if variant("t_change") > 0.985 else "NT_"] = 0.0
    if states("av_block_1") and variant("av_block_1") < 0.25:
        form["LPR"] = 0.0
    if "LVH" in codes and whim[1] < 0.4:
        form["VCLVH"] = 0.0
    if reading.infarcts and whim[2] < 0.1:
        form["QWAVE"] = 0.0
    if (reading.infarcts or "IVCD" in codes or "LVH" in codes) and whim[3] < 0.5:
        form["ABQRS"] = 0.0
    if (states("atrial_premature") and whim[4] < 0.03) or (
        states("ventricular_premature") and whim[4] < 0.01
    ):
        form["PRC(S)"] = 0.0
    return form


def _rhythm(reading: Reading) -> list[str]:
    code = _words("rhythm").get(reading.rhythm)
    if code is not None:
        paroxysmal = code == "SVTAC" and reading.variant(reading.rhythm) < 0.45
        return ["PSVT" if paroxysmal else code]
    rhythm = [
        code
        for name, code in (("bigeminy", "BIGU"), ("trigeminy", "TRIGU"))
        if reading.states(name)
    ]
    if reading.fast:
        return [*rhythm, "STACH"]
    if reading.slow:
        return [*rhythm, "SBRAD"]
    return [*rhythm, "SARRH" if reading.states("sinus_arrhythmia") else "SR"]


def _likelihood(reading: Reading, code: str, name: str) -> float:
    if code not in _GRADED:
        return 100.0
    margin = reading.margin(name)
    steps = ((0.04, 15.0), (0.07, 35.0), (0.18, 50.0), (0.25, 80.0))
    return next((value for limit, value in steps if margin < limit), 100.0)
