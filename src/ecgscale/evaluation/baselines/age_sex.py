"""Age and sex, which an ECG tells too."""

import numpy as np

from ecgscale.evaluation.baselines.base import Probed, baselines, imputed
from ecgscale.evaluation.embed import Embeddings
from ecgscale.evaluation.readouts.base import Problem


@baselines.register("age-sex")
class AgeSex(Probed):
    """The linear probe on age, age squared, sex, and whether age or sex is unknown.

    Unknown values are the training median.
    """

    words = "age and sex only"

    def numbers(self, problem: Problem) -> Embeddings:
        """Return shape (example, 5): age, age squared, sex, age unknown, sex unknown."""
        frame = problem.table.frame
        age = np.asarray(frame["age"], dtype=np.float64)
        sex = np.asarray(frame["sex"].map({"F": 0.0, "M": 1.0}), dtype=np.float64)
        known_age, known_sex = imputed(age, problem.train), imputed(sex, problem.train)
        columns = [known_age, known_age**2, known_sex, np.isnan(age), np.isnan(sex)]
        return np.column_stack(columns).astype(np.float32)
