"""Chapman-Shaoxing-Ningbo's vocabulary: the 38 labels, and how a reader writes them."""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from ecgscale.data.simulate.reading import Reading

_RHYTHM = {
    "atrial_fibrillation": "AFIB",
    "atrial_flutter": "AF",
    "supraventricular_tachycardia": "SVT",
    "atrial_tachycardia": "AT",
}

_FINDING = {
    "sinus_arrhythmia": "SA",
    "atrial_premature": "APB",
    "ventricular_premature": "VPB",
    "bigeminy": "VB",
    "ventricular_escape": "VEB",
    "junctional_escape": "JEB",
    "av_block_1": "1AVB",
    "pr_prolonged": "PRIE",
    "av_block_2_type_1": "2AVB1",
    "av_block_2_type_2": "2AVB",
    "av_block_complete": "AVB",
    "preexcitation": "WPW",
    "lbbb": "LBBB",
    "rbbb": "RBBB",
    "left_anterior_fascicular": "ALS",
    "left_axis": "ALS",
    "left_posterior_fascicular": "ARS",
    "right_axis": "ARS",
    "clockwise": "CR",
    "counterclockwise": "CCR",
    "lvh": "LVH",
    "rvh": "RVH",
    "p_wave_change": "PWC",
    "st_change": "STTC",
    "t_change": "TWC",
    "t_inverted": "TWO",
    "st_depressed": "STDD",
    "st_elevated": "STE",
    "st_upsloping": "STTU",
    "early_repolarization": "ERV",
    "qt_prolonged": "QTIE",
    "u_wave": "UW",
}

_BRADYCARDIA = "SB"
"""In the headers, but not one of the 38 labels."""


def _rows(name: str) -> list[dict[str, str]]:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def csn_labels() -> tuple[dict[str, str], ...]:
    """Return the 38 labels of the published split, in its order.

    Each has the keys acronym, snomed (the codes that mean it, with spaces between) and description.
    """
    return tuple(_rows("csn_labels.csv"))


def case_mix() -> Mapping[str, float]:
    """Return the fraction of records with each of the simulator's conditions.

    It follows the counts of the published split lists; conditions rarer than about 0.3 % are raised
    to that.
    """
    return {row["condition"]: float(row["prevalence"]) for row in _rows("case_mix.csv")}


def acronyms(reading: Reading) -> list[str]:
    """Return the acronyms of a Chapman-Shaoxing-Ningbo header, rhythm first."""
    found = [_rhythm(reading)]
    found += [acronym for name, acronym in _FINDING.items() if reading.states(name)]
    if reading.infarcts:
        found.append("AQW")
        if reading.variant(reading.infarcts[0]) * 7 % 1 < 0.25:
            found.append("MI")
    if "SA" in found and reading.variant("sinus_arrhythmia") < 0.65:
        found.remove(found[0])
    return list(dict.fromkeys(found))


def snomed(acronym: str) -> str:
    """Return the SNOMED CT code of an acronym as the published headers write it."""
    known = {row["acronym"]: row["snomed"] for row in csn_labels()}
    return "426177001" if acronym == _BRADYCARDIA else known[acronym]


def split_columns(acronyms: list[str]) -> dict[str, int]:
    """Return the 38 columns of the published split lists for a record.

    The published lists mark a label wherever its acronym is *contained in the text* of the record's
    acronyms: AF is also 1 for AFIB, ST for STTC, STE, STDD and STTU, VB for every AVB, CR for CCR.
    The lists here are made by the same rule.
    """
    text = ",".join(acronyms)
    return {row["acronym"]: int(row["acronym"] in text) for row in csn_labels()}


def _rhythm(reading: Reading) -> str:
    if reading.rhythm in _RHYTHM:
        return _RHYTHM[reading.rhythm]
    if reading.slow:
        return _BRADYCARDIA
    return "ST" if reading.fast else "SR"
