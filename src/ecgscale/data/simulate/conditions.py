"""The heart's conditions: how common each is, and whom it befalls."""

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Condition:
    """One condition of the liability-threshold model.

    A patient's liability is a sum of age, sex, latent cardiovascular risk (each in SDs) and a
    Gaussian residue, of unit variance in all; the condition is present above the threshold that
    gives its prevalence.

    Attributes
    ----------
    prevalence
        Fraction of records with the condition, where a layout's case mix does not say otherwise.
    age, male, risk
        Weights in the liability.
    """

    name: str
    prevalence: float
    age: float
    male: float
    risk: float


_TABLE = Path(__file__).with_name("conditions.csv").read_text(encoding="utf-8")

CONDITIONS: tuple[Condition, ...] = tuple(
    Condition(row["name"], *(float(row[key]) for key in ("prevalence", "age", "male", "risk")))
    for row in csv.DictReader(_TABLE.splitlines())
)
"""The first rhythm present, in this order, is the record's rhythm; without one it is sinus.

Prevalences follow the published label counts of a heart centre (PTB-XL); conditions rarer than
about 0.3 % are raised to that, so that a cohort of a few thousand records holds some of each.
"""

INDEX: dict[str, int] = {condition.name: i for i, condition in enumerate(CONDITIONS)}
"""Column of a condition in every array over conditions."""
