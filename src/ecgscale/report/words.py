"""How numbers, metrics and endpoints are written."""

import math
from collections.abc import Sequence

from ecgscale.evaluation.endpoints import Endpoint, protocol_words
from ecgscale.evaluation.metrics import MainMetric
from ecgscale.scaling.variance import Estimate

DASH = "\N{EN DASH}"
"""Stands where there is no number."""


def number(value: float, digits: int) -> str:
    """Format a number; "n/a" for NaN."""
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """Format a number with its sign (a true minus); "n/a" for NaN.

    Examples
    --------
    >>> signed(-0.5, 2), signed(-0.001, 2)
    ('−0.50', '0.00')
    """
    if math.isnan(value):
        return "n/a"
    if round(value, digits) == 0:
        return f"{0:.{digits}f}"
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate, digits: int) -> str:
    """Format an interval: "+0.10 to +0.90"; "not estimable" for NaN."""
    return ends(estimate.low, estimate.high, digits)


def ends(low: float, high: float, digits: int) -> str:
    """Format the ends of an interval: "+0.10 to +0.90"; "not estimable" for NaN."""
    return (
        "not estimable" if math.isnan(low) else f"{signed(low, digits)} to {signed(high, digits)}"
    )


def percent(share: float) -> str:
    """Format a level: "95%", or "98.33%".

    Examples
    --------
    >>> percent(0.95), percent(1 - 0.05 / 3)
    ('95%', '98.33%')
    """
    return f"{100 * share:.4g}%"


def with_interval(estimate: Estimate, digits: int) -> str:
    """Format a value with its interval: "+0.50 (+0.10 to +0.90)"."""
    return f"{signed(estimate.value, digits)} ({interval(estimate, digits)})"


def p_text(p: float) -> str:
    """Format a p value: "= 0.031", or "< 0.0001"."""
    if math.isnan(p):
        return "n/a"
    return "< 0.0001" if p < 0.0001 else f"= {p:.2g}"


def score_text(value: float, metric: MainMetric) -> str:
    """Format a score; a dash where there is none."""
    return DASH if math.isnan(value) else number(value, metric.digits)


def count(n: int, noun: str) -> str:
    """Format a count: "1 size", "5 sizes"."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def listed(parts: Sequence[str]) -> str:
    """Join parts as a sentence does.

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed(["a", "b"]), listed(["a"])
    ('a, b and c', 'a and b', 'a')
    """
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)


def name_of_change(metric: MainMetric) -> str:
    """Name what changes per doubling, with its unit: "AUROC" or "MAE (mmHg)"."""
    return metric.label.removeprefix("macro ")


def title_of(endpoint: Endpoint) -> str:
    """Return the title of the task, with the protocol unless it is the study's first."""
    title = endpoint.title or endpoint.task
    return (
        title if endpoint.name == endpoint.task else f"{title}, {protocol_words(endpoint.protocol)}"
    )


def readout_of(endpoint: Endpoint) -> str:
    """Return what tells the endpoints of one task apart: the protocol in words."""
    return protocol_words(endpoint.protocol)


def if_error(metric: MainMetric, text: str) -> str:
    """Return what is to be said only of a metric that is better when lower; else ""."""
    return "" if metric.higher_is_better else text
