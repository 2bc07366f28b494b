"""Scaling laws of the error, fitted only where there are sizes enough to tell them apart.

The error is 1 - AUROC, or of a regression the mean absolute error itself.

All laws are fitted by least squares to the logarithm of the error of every run, so that their AICc
compare, and judged as well by what they predict for the largest size when they have not seen it
(Alabdulmohsin et al. 2022, arXiv:2209.06640). Parameters come without intervals: with a handful of
sizes over two decades the offset and the exponent of a power law trade off against each other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import FloatArray

MIN_SIZES = 5
"""Below this many sizes three parameters fit anything."""
AGREEMENT = 1e-6
"""Relative difference of cost within which two starts have found the same minimum."""
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
    problem
        Why the fit is not to be used, or "".
    """

    name: str
    formula: str
    params: dict[str, float] = field(default_factory=dict)
    aicc: float = math.nan
    extrapolation: float = math.nan
    problem: str = ""


@dataclass(frozen=True)
class LawComparison:
    """The laws of one group, best first.

    Attributes
    ----------
    laws
        Usable ones by AICc, then the others.
    problem
        Why none was fitted, or "".
    """

    laws: tuple[Law, ...] = ()
    problem: str = ""

    @property
    def undecided(self) -> bool:
        """Whether the two best laws differ by less than `SUBSTANTIAL`."""
        usable = [law for law in self.laws if not law.problem and math.isfinite(law.aicc)]
        return len(usable) < 2 or usable[1].aicc - usable[0].aicc < SUBSTANTIAL


@dataclass(frozen=True)
class _Form:
    """A law to fit; A by its logarithm, so that it is positive whatever the optimiser tries."""

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
        lambda p, n: np.full_like(n, p[0]),
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


def fit_laws(group: Group) -> LawComparison:
    """Fit and compare the laws of one group.

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
    laws = [_law(form, n, error, -1 if rising else 1) for form in _FORMS]
    laws.sort(key=lambda law: (bool(law.problem), math.isnan(law.aicc), law.aicc))
    return LawComparison(tuple(laws))


def _law(form: _Form, n: FloatArray, error: FloatArray, sign: int) -> Law:
    """Return a fitted law; `sign` is that of the score against the error."""
    values, cost, problem = _fit(form, n.ravel(), error.ravel())
    if problem:
        return Law(form.name, form.formula, problem=problem)
    shorter, _, stuck = _fit(form, n[:, :-1].ravel(), error[:, :-1].ravel())
    ahead = math.nan
    if not stuck:
        ahead = sign * float(form.predict(shorter, n[:1, -1])[0] - error[:, -1].mean())
    named = dict(zip(form.bounds, map(float, values), strict=True))
    if "A" in named:
        named["A"] = math.exp(named["A"])
    return Law(form.name, form.formula, named, _aicc(cost, error.size, len(values)), ahead)


def _fit(form: _Form, n: FloatArray, error: FloatArray) -> tuple[FloatArray, float, str]:
    """Return parameters, residual sum of squares and what is wrong with them, from many starts."""
    from scipy.optimize import least_squares

    def residual(params: FloatArray) -> FloatArray:
        return np.asarray(np.log(np.maximum(form.predict(params, n), 1e-12)) - np.log(error))

    lower, upper = zip(*form.bounds.values(), strict=True)
    found = [
        least_squares(residual, start, bounds=(lower, upper), xtol=1e-12, ftol=1e-12)
        for start in form.starts(n, error)
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
