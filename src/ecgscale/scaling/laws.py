"""Scaling laws of the error, fitted only where there are sizes enough to tell them apart.

The error is 1 - AUROC, or of a regression the mean absolute error itself.

All laws are fitted by least squares to the logarithm of the error of every run, so that their AICc
compare, and judged as well by what they predict for the largest size when they have not seen it
(Alabdulmohsin et al. 2022, arXiv:2209.06640). Intervals come from refits to joint draws of runs and
test patients. With a handful of sizes over two decades the offset and the exponent of a power law
trade off against each other; where draws run into a bound, the law says so.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ecgscale.scaling.draws import joint_draws
from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import FloatArray, covered, whole

MIN_SIZES = 5
"""Below this many sizes three parameters fit anything."""
AGREEMENT = 1e-6
"""Relative difference of cost within which two starts have found the same minimum."""
_LEAST = 1e-12
"""A law that predicts no error or less has this one, whose logarithm is far from any."""
_STEPS = 60
"""Iterations of a refit at most."""
SUBSTANTIAL = 2.0
"""Difference of AICc below which two laws are not told apart (Burnham and Anderson 2002)."""


@dataclass(frozen=True)
class Law:
    """One fitted law.

    Attributes
    ----------
    formula
        Of the error, with N the pretraining patients.
    params
        Fitted values; N is in patients.
    aicc
        NaN where there are too few runs for the number of parameters.
    extrapolation
        Predicted minus observed score at the largest size, from a fit without it.
    intervals
        Of each parameter, from refits to joint draws of runs and test patients; none without draws.
    predicted, predicted_low, predicted_high
        Score at the largest size from the fit without it, and where the law expects the mean that
        was observed there: the interval covers the error of both.
    unidentified
        Which parameter the draws leave open, or "".
    problem
        Why the fit is not to be used, or "".
    """

    name: str
    formula: str
    params: dict[str, float] = field(default_factory=dict)
    aicc: float = math.nan
    extrapolation: float = math.nan
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    predicted: float = math.nan
    predicted_low: float = math.nan
    predicted_high: float = math.nan
    unidentified: str = ""
    problem: str = ""

    @property
    def refuted(self) -> bool:
        """Whether the score at the largest size is not where a fit without it expects it."""
        observed = self.predicted - self.extrapolation
        return observed < self.predicted_low or observed > self.predicted_high


@dataclass(frozen=True)
class LawComparison:
    """The laws of one group, best first.

    Attributes
    ----------
    laws
        Usable ones by AICc, then the others.
    covers
        What the intervals cover, in words.
    problem
        Why none was fitted, or "".
    """

    laws: tuple[Law, ...] = ()
    covers: str = "nothing"
    problem: str = ""

    @property
    def undecided(self) -> bool:
        """Whether the two best laws differ by less than `SUBSTANTIAL`."""
        usable = [law for law in self.laws if not law.problem and math.isfinite(law.aicc)]
        return len(usable) < 2 or usable[1].aicc - usable[0].aicc < SUBSTANTIAL


@dataclass(frozen=True)
class _Form:
    """A law to fit; A by its logarithm, so that it is positive whatever the optimiser tries.

    `predict` takes parameters, each of a shape that broadcasts with that of the patients.
    """

    name: str
    formula: str
    bounds: dict[str, tuple[float, float]]
    predict: Callable[[FloatArray, FloatArray], FloatArray]
    starts: Callable[[FloatArray, FloatArray], Sequence[Sequence[float]]]


def _line_starts(x: FloatArray, y: FloatArray) -> list[list[float]]:
    """Return intercept and fall of the least-squares line, and of a level one."""
    slope, intercept = np.polyfit(x, y, 1)
    return [[float(intercept), float(-slope)], [float(y.mean()), 0.0]]


def _offset_starts(n: FloatArray, error: FloatArray) -> list[list[float]]:
    floor, first = float(error.min()), math.log(float(n.min()))
    return [
        [share * floor, math.log(float(error.max()) - share * floor + 1e-6) + alpha * first, alpha]
        for share in (0.05, 0.3, 0.6, 0.9)
        for alpha in (0.05, 0.2, 0.5, 1.0, 2.0)
    ]


_FREE = (-math.inf, math.inf)
_FORMS: tuple[_Form, ...] = (
    _Form(
        "constant",
        "E",
        {"E": (1e-9, math.inf)},
        lambda p, n: np.asarray(p[0] + 0 * n),
        lambda n, error: [[float(error.mean())], [float(np.median(error))]],
    ),
    _Form(
        "log-linear",
        "a - b log2 N",
        {"a": _FREE, "b": _FREE},
        lambda p, n: np.asarray(p[0] - p[1] * np.log2(n)),
        lambda n, error: _line_starts(np.log2(n), error),
    ),
    _Form(
        "power law",
        "A N^-alpha",
        {"A": _FREE, "alpha": _FREE},
        lambda p, n: np.asarray(np.exp(p[0] - p[1] * np.log(n))),
        lambda n, error: _line_starts(np.log(n), np.log(error)),
    ),
    _Form(
        "power law with floor",
        "E + A N^-alpha",
        {"E": (0.0, math.inf), "A": _FREE, "alpha": (0.0, 5.0)},
        lambda p, n: np.asarray(p[0] + np.exp(p[1] - p[2] * np.log(n))),
        _offset_starts,
    ),
)


def fit_laws(
    group: Group, *, confidence: float = 0.95, draws: int = 1000, seed: int = 0
) -> LawComparison:
    """Fit and compare the laws of one group.

    The intervals, of level `confidence`, are percentiles over `draws` refits.

    Returns
    -------
    LawComparison
        With a `problem` and no laws where the group has one, has fewer than `MIN_SIZES` sizes, or
        holds a run without error (which has no logarithm).

    Examples
    --------
    >>> from ecgscale.evaluation.endpoints import Endpoint
    >>> from ecgscale.evaluation.metrics import main_metric
    >>> from ecgscale.evaluation.settings import Protocol
    >>> endpoint = Endpoint("ptb-xl-form", "ptb-xl-form", Protocol(), main_metric("macro_auroc"))
    >>> sizes, blocks = 64 * 2 ** np.arange(6), ((0, 0), (1, 1))
    >>> score = 1 - np.array([[0.9], [0.91]]) * sizes**-0.3
    >>> group = Group("clef", "net1d", "fixed_steps", endpoint, sizes, blocks, score, score[None])
    >>> best = fit_laws(group).laws[0]
    >>> best.name, round(best.params["alpha"], 2)
    ('power law', 0.3)
    """
    if group.problem:
        return LawComparison(problem=group.problem)
    if len(group.sizes) < MIN_SIZES:
        few = f"{len(group.sizes)} sizes; laws are fitted from {MIN_SIZES} upwards"
        return LawComparison(problem=few)
    metric = group.endpoint.metric
    rising = metric.higher_is_better
    error = 1 - group.score if rising else group.score
    if (error <= 0).any():
        best = f"an {metric.short} of 1" if rising else "an error of 0"
        return LawComparison(problem=f"{best} leaves no error to fit")
    n = np.broadcast_to(group.sizes.astype(np.float64), error.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        resampled = np.log(1 - group.replicates if rising else group.replicates)
    patients = len(whole(resampled)) > 1
    known = patients or len(group.blocks) > 1
    # Least squares on the logarithm of all runs is that on its mean over blocks, so draws of the
    # means are all that a refit needs.
    rng, curves = np.random.default_rng(seed), np.empty((0, len(group.sizes)))
    if known and draws:
        curves = joint_draws(np.log(error), resampled, group.blocks, draws, rng)
    laws = [_law(form, n, error, -1 if rising else 1, curves, confidence) for form in _FORMS]
    laws.sort(key=lambda law: (bool(law.problem), math.isnan(law.aicc), law.aicc))
    return LawComparison(tuple(laws), covered(group.blocks, patients) if len(curves) else "nothing")


def _law(
    form: _Form,
    n: FloatArray,
    error: FloatArray,
    sign: int,
    curves: FloatArray,
    confidence: float,
) -> Law:
    """Return a fitted law.

    `sign` is that of the score against the error, and `curves`, shape (draw, size), are draws of
    the true logarithm of the error.
    """
    values, cost, problem = _fit(form, n.ravel(), error.ravel())
    if problem:
        return Law(form.name, form.formula, problem=problem)
    shorter, _, stuck = _fit(form, n[:, :-1].ravel(), error[:, :-1].ravel())
    named, aicc = _named(form, values.tolist()), _aicc(cost, error.size, len(values))
    found = Law(form.name, form.formula, named, aicc)
    if not stuck:
        found = _held_out(found, form, shorter, n[0], error, sign, curves, confidence)
    if not len(curves):
        return found
    drawn = _refit(form, values, n[0], curves)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = (_named(form, ends) for ends in np.quantile(drawn, tails, axis=0).tolist())
    return replace(
        found,
        intervals={name: (low[name], high[name]) for name in low},
        unidentified=_unidentified(form, drawn, error, 1 - confidence),
    )


def _named(form: _Form, values: Sequence[float]) -> dict[str, float]:
    """Return parameters by name; A itself, of its logarithm."""
    named = dict(zip(form.bounds, values, strict=True))
    return {name: math.exp(v) if name == "A" else v for name, v in named.items()}


def _held_out(
    law: Law,
    form: _Form,
    shorter: FloatArray,
    n: FloatArray,
    error: FloatArray,
    sign: int,
    curves: FloatArray,
    confidence: float,
) -> Law:
    """Return the law with what its fit without the largest size says of that size."""
    largest, observed = n[-1:], float(error[:, -1].mean())
    expected = float(form.predict(shorter, largest)[0])
    # A score is 1 - error, or the error itself.
    predicted = 1 - expected if sign < 0 else expected
    found = replace(law, extrapolation=sign * (expected - observed), predicted=predicted)
    if not len(curves):
        return found
    drawn = _refit(form, shorter, n[:-1], curves[:, :-1])
    # What the draws add to prediction and observation, relative to both: errors that runs and
    # patients make at all sizes alike cancel.
    ahead = form.predict(drawn.T[:, :, None], largest)[:, 0]
    off = np.log(np.maximum(ahead, _LEAST)) - curves[:, -1]
    off = off - (math.log(expected) - float(np.log(error[:, -1]).mean()))
    tails = np.quantile(off, [(1 - confidence) / 2, (1 + confidence) / 2])
    errors = [expected * math.exp(-tail) for tail in tails.tolist()]
    low, high = sorted(1 - end if sign < 0 else end for end in errors)
    return replace(found, predicted_low=low, predicted_high=high)


def _refit(form: _Form, start: FloatArray, n: FloatArray, curves: FloatArray) -> FloatArray:
    """Return the parameters of a law for many curves at once, shape (draw, parameter).

    Levenberg and Marquardt's method within the law's bounds.

    Parameters
    ----------
    start
        Shape (parameter,), where all begin, or (draw, parameter).
    curves
        Shape (draw, size), logarithms of the error.
    """
    lower, upper = (np.array(ends) for ends in zip(*form.bounds.values(), strict=True))

    def residual(params: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            predicted = form.predict(params.T[:, :, None], n)
        return np.asarray(np.log(np.maximum(predicted, _LEAST)) - curves)

    begin = np.clip(start, lower, upper)
    params = np.broadcast_to(begin, (len(curves), len(lower))).copy()
    damping = np.full(len(curves), 1e-3)
    rest = residual(params)
    for _ in range(_STEPS):
        columns = []
        for place in range(params.shape[1]):
            step = np.zeros_like(params)
            step[:, place] = 1e-6 * (1e-3 + np.abs(params[:, place]))
            over, under = params + step, params - step
            columns.append((residual(over) - residual(under)) / (2 * step[:, place, None]))
        slopes = np.stack(columns, axis=-1)
        normal = np.einsum("dkp,dkq->dpq", slopes, slopes)
        size = np.einsum("dpp->dp", normal)
        ridge = np.eye(params.shape[1]) * (damping[:, None] * size + 1e-15)[:, None, :]
        towards = np.einsum("dkp,dk->dp", slopes, rest)
        step = np.linalg.solve(normal + ridge, towards[:, :, None])[:, :, 0]
        tried = np.clip(params - step, lower, upper)
        tried_rest = residual(tried)
        cost, tried_cost = (rest**2).sum(axis=1), (tried_rest**2).sum(axis=1)
        better = tried_cost < cost
        params = np.where(better[:, None], tried, params)
        rest = np.where(better[:, None], tried_rest, rest)
        damping = np.clip(np.where(better, damping / 5, damping * 5), 1e-12, 1e12)
        if (cost - tried_cost <= 1e-9 * cost + 1e-18).all():
            break
    return params


def _unidentified(form: _Form, drawn: FloatArray, error: FloatArray, alpha: float) -> str:
    """Say which parameter more than `alpha` of the draws put at its bound, or ""."""
    if form.bounds.keys() != {"E", "A", "alpha"}:
        return ""
    floor, power = drawn[:, 0], drawn[:, 2]
    open_ends = {
        "the floor is zero": floor < 0.01 * error.min(),
        "the floor is all of the error": (floor > 0.9999 * error.min()) | (power < 1e-3),
        "the exponent is at its bound": power > 4.99,
    }
    found = [f"{what} in {of.mean():.0%}" for what, of in open_ends.items() if of.mean() > alpha]
    return f"{', '.join(found)} of the draws" if found else ""


def _fit(form: _Form, n: FloatArray, error: FloatArray) -> tuple[FloatArray, float, str]:
    """Return parameters, residual sum of squares and what is wrong with them, from many starts."""
    from scipy.optimize import least_squares

    def residual(params: FloatArray) -> FloatArray:
        return np.asarray(np.log(np.maximum(form.predict(params, n), _LEAST)) - np.log(error))

    lower, upper = zip(*form.bounds.values(), strict=True)
    found = [
        least_squares(residual, start, bounds=(lower, upper), xtol=1e-12, ftol=1e-12)
        for start in _nearest(form, n, error)
    ]
    # A floor and an exponent trade off along a flat valley; where no second start ends in the same
    # minimum, the first may have stopped on its side.
    found = sorted((fit for fit in found if fit.success), key=lambda fit: float(fit.cost))
    if not found:
        return np.full(len(form.bounds), math.nan), math.nan, "no start converged"
    best = found[0]
    near = best.cost * (1 + AGREEMENT) + 1e-15
    if len(found) < 2 or found[1].cost > near:
        return best.x, 2 * best.cost, "the best minimum was found from one start only"
    return best.x, 2 * best.cost, _at_bound(form, best.x, error)


def _nearest(form: _Form, n: FloatArray, error: FloatArray) -> FloatArray:
    """Return the two starts that come nearest to a minimum, after all went some way at once."""
    starts = np.array(form.starts(n, error))
    curves = np.tile(np.log(error), (len(starts), 1))
    moved = _refit(form, starts, n, curves)
    predicted = form.predict(moved.T[:, :, None], n)
    cost = ((np.log(np.maximum(predicted, _LEAST)) - curves) ** 2).sum(axis=1)
    return np.asarray(moved[np.argsort(cost, kind="stable")[:2]])


def _at_bound(form: _Form, values: FloatArray, error: FloatArray) -> str:
    if form.bounds.keys() != {"E", "A", "alpha"}:
        return ""
    floor, alpha = values[0], values[2]
    if alpha < 1e-3 or floor > 0.9999 * error.min():
        return "the error does not fall in a way that a power law could follow"
    if floor < 0.01 * error.min():
        return "the floor is at zero: not told apart from the power law without one"
    return "the exponent is at its bound" if alpha > 4.99 else ""


def _aicc(rss: float, n: int, n_params: int) -> float:
    """Return the small-sample AIC (Hurvich and Tsai 1989); the variance counts as a parameter."""
    p = n_params + 1
    if n - p - 1 < 1:
        return math.nan
    return n * math.log(max(rss, 1e-300) / n) + 2 * p + 2 * p * (p + 1) / (n - p - 1)
