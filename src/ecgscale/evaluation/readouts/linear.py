"""The linear probe of the frozen embedding."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from ecgscale.evaluation.embed import Embeddings
from ecgscale.evaluation.metrics.functions import Floats
from ecgscale.evaluation.probe import LinearProbe, Probe, fit_linear_probes, fit_ridge_probes
from ecgscale.evaluation.readouts.base import (
    Predictions,
    Problem,
    Readout,
    ReadoutSettings,
    blank_scores,
    log_probabilities,
    readouts,
)


@readouts.register("linear")
class Linear(Readout):
    """Logistic regression, or ridge regression of a number, on the standardised embedding.

    One penalty for the whole task, the one with the best main metric on validation; of equal ones
    the strongest. Examples are not weighted by class. A multi-class task is fitted one against the
    rest, and its log odds are turned into probabilities by `log_probabilities`; AUROC is one
    against the rest on these.
    """

    class Settings(ReadoutSettings):
        """Logistic regression, or ridge regression of a number."""

        penalties: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
        """L2 penalties tried, per training example; the main metric on validation chooses."""
        max_iterations: int = Field(default=100, ge=1)

    title = "linear probe"
    method = "a linear probe of the frozen encoder, whose penalty the validation split chose"
    reads_depths = True
    reference = (
        "Alain & Bengio, Understanding intermediate layers using linear classifier probes, "
        "arXiv 1610.01644; as ECG models are compared: CLEF, arXiv 2512.02180"
    )

    def predict(self, problem: Problem) -> Predictions:
        """Fit every penalty, choose on validation, score with that one."""
        x, test = problem.embeddings(), problem.table.where("test")
        probes = _fit(problem, x[problem.train])
        candidates = [_scores(problem, probe.scores(x[problem.validation])) for probe in probes]
        reached = [problem.on_validation(scores) for scores in candidates]
        qualities = [problem.metric.quality(value) for value in reached]
        # NaN is below every number; of equal ones the strongest penalty, which comes first, wins.
        best = int(np.argmax(np.nan_to_num(qualities, nan=-np.inf)))
        scores = blank_scores(problem)
        scores[problem.validation] = candidates[best]
        scores[test] = _scores(problem, probes[best].scores(x[test]))
        seen = f"validation_{problem.metric.name}"
        tried = [
            {"penalty": probe.penalty, seen: value, **_convergence(probe)}
            for probe, value in zip(probes, reached, strict=True)
        ]
        return Predictions(scores, {"penalties": tried}, {"penalty": probes[best].penalty})


def _fit(problem: Problem, x: Embeddings) -> Sequence[Probe]:
    settings: Linear.Settings = problem.settings
    y = problem.y[problem.train]
    if problem.kind == "regression":
        return fit_ridge_probes(x, y, settings.penalties, device=problem.device)
    return fit_linear_probes(
        x, y, settings.penalties, max_iterations=settings.max_iterations, device=problem.device
    )


def _scores(problem: Problem, raw: Floats) -> Floats:
    return log_probabilities(raw) if problem.kind == "multi-class" else raw


def _convergence(probe: Probe) -> dict[str, int]:
    """Return how many labels' fits have not converged; ridge regression needs no iterations."""
    return {"unconverged": int((~probe.converged).sum())} if isinstance(probe, LinearProbe) else {}
