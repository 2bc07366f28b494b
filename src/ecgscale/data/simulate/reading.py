"""What the reader of a record makes of it: the conditions stated, whatever the vocabulary."""

import numpy as np

from ecgscale.data.simulate.conditions import INDEX
from ecgscale.data.simulate.options import CohortOptions
from ecgscale.data.simulate.pathology import Heart
from ecgscale.data.simulate.population import Patient, State, rhythm_of

INFARCTS = ("infarct_anterior", "infarct_inferior", "infarct_lateral", "infarct_posterior")


class Reading:
    """A record's state as its reader sees it, with the reader's misses.

    A data set puts it into its own words (SCP statements, SNOMED CT codes).

    Parameters
    ----------
    rng
        The record's stream; one draw decides for each condition whether it is left out.

    Attributes
    ----------
    rhythm
        "sinus" or one of `RHYTHMS`.
    whim
        Shape (8,), uniform in [0, 1): for a vocabulary's choices between words for one thing.
    """

    def __init__(
        self,
        patient: Patient,
        state: State,
        heart: Heart,
        options: CohortOptions,
        rng: np.random.Generator,
    ) -> None:
        self._patient = patient
        self._assessed = state.assessed
        self._bradycardia_below = options.bradycardia_below
        missed = rng.random(len(INDEX)) < options.missed * options.difficulty
        self._stated = (state.assessed > 0) & ~missed
        self.whim = rng.random(8)
        self.rhythm = rhythm_of(state.assessed)
        self._bpm = 60 / heart.pace.rr

    def states(self, name: str) -> bool:
        """Return whether the reader states a condition."""
        return bool(self._stated[INDEX[name]])

    def margin(self, name: str) -> float:
        """Return how far above its threshold the reader sees a condition, in SDs."""
        return float(self._assessed[INDEX[name]])

    def variant(self, name: str) -> float:
        """Return the form that the patient's condition takes, uniform in [0, 1)."""
        return float(self._patient.variant[INDEX[name]])

    @property
    def slow(self) -> bool:
        """Whether the cohort's readers call the sinus rate bradycardia."""
        return self._bpm < self._bradycardia_below

    @property
    def fast(self) -> bool:
        """Whether the sinus rate is a tachycardia: above 100 beats per minute."""
        return self._bpm > 100

    @property
    def infarcts(self) -> list[str]:
        """The infarcts that the reader states."""
        return [name for name in INFARCTS if self.states(name)]
