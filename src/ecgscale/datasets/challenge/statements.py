"""Chapman-Shaoxing-Ningbo's vocabulary: the 38 labels, and how a reader writes them."""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from ecgscale.data.simulate.reading import Reading

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


@cache
def _words(kind: str) -> dict[str, str]:
    """Return the acronym of each rhythm, or of each other finding."""
    rows = _rows("csn_words.csv")
    return {row["finding"]: row["acronym"] for row in rows if row["kind"] == kind}


def case_mix() -> Mapping[str, float]:
    """Return the fraction of records with each of the simulator's conditions.

    It follows the counts of the published split lists; conditions rarer than about 0.3 % are raised
    to that.
    """
    return {row["condition"]: float(row["prevalence"]) for row in _rows("case_mix.csv")}


def acronyms(reading: Reading) -> list[str]:
    """Return the acronyms of a Chapman-Shaoxing-Ningbo header, rhythm first."""
    found = [_rhythm(reading)]
    found += [acronym for name, acronym in _words("finding").items() if reading.states(name)]
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
    sinus = _BRADYCARDIA if reading.slow else "ST" if reading.fast else "SR"
    return _words("rhythm").get(reading.rhythm, sinus)
