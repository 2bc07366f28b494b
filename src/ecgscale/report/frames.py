"""The report's numbers for machines: CSV files and the metrics of DVC."""

import math
from typing import Any

import pandas as pd

from ecgscale.evaluation.metrics import MainMetric
from ecgscale.evaluation.metrics import metrics as known
from ecgscale.report.analysis import Analysis
from ecgscale.scaling.claims import Claim
from ecgscale.scaling.correlate import Correlation
from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import Estimate


def correlations_frame(analysis: Analysis) -> pd.DataFrame:
    """Return one row a group: objective, encoder, regime and endpoint."""
    said = {id(claim.group): claim for claim in analysis.said}
    return pd.DataFrame(
        [
            {
                **_group_columns(group),
                "sizes": len(group.sizes),
                "blocks": len(group.blocks),
                "problem": group.problem,
                "left_out": "; ".join(group.left_out),
                **_claimed(said.get(id(group))),
                **_numbers(found),
            }
            for group, found in analysis.results
        ]
    )


def comparisons_frame(analysis: Analysis) -> pd.DataFrame:
    """Return one row an objective, control and endpoint."""
    return pd.DataFrame(
        [
            {
                **_group_columns(comparison.group, control=comparison.control),
                "size": comparison.group.sizes[-1],
                **_with_ends("slope", comparison.slope, "slope_difference"),
                **_with_ends("level", comparison.level, "level_difference"),
                "interval_covers": comparison.level.covers,
            }
            for comparison in analysis.comparisons
        ]
    )


def plot_frame(analysis: Analysis) -> pd.DataFrame:
    """Return the runs of the primary endpoint, as `dvc plots` draws them."""
    rows = analysis.scaled_rows
    primary = rows["endpoint"] == analysis.design.primary.name
    chosen = rows[primary & ~rows["collapsed"].astype(bool)]
    axes = ["objective", "encoder", "regime", "size", "order", "seed"]
    main = [name for name, metric in known.items() if issubclass(metric, MainMetric)]
    return chosen[[*axes, "score", *main]].rename(columns={"size": "patients"})


def metrics(analysis: Analysis) -> dict[str, dict[str, Any]]:
    """Return the numbers that DVC shows and compares between commits, a row a curve.

    `dvc metrics show` prints a file as a row, with a column for each number: rows are named
    ``<objective>/<encoder>``, and what is not estimable is null, which DVC leaves blank.
    """
    return {
        f"{claim.group.objective}/{claim.group.encoder}": _headline(claim, analysis)
        for claim in analysis.said
    }


def _headline(claim: Claim, analysis: Analysis) -> dict[str, Any]:
    group, found = claim.group, claim.correlation
    runs = f"{group.objective}/{group.encoder}/"
    slope, rho = (found.slope, found.rho) if found else (None, None)
    return {
        "verdict": claim.verdict,
        **{key: _finite(value) for key, value in _with_ends("slope", slope).items()},
        "p_holm": _finite(claim.p_holm),
        "rho": _finite(rho.value) if rho else None,
        group.endpoint.metric.name: _finite(float(group.score[:, -1].mean())) if found else None,
        "runs_missing": sum(cell.startswith(runs) for cell in analysis.collection.gaps),
    }


def _group_columns(group: Group, **control: str) -> dict[str, Any]:
    endpoint = group.endpoint
    return {
        "objective": group.objective,
        **control,
        "encoder": group.encoder,
        "regime": group.regime,
        "endpoint": endpoint.name,
        "task": endpoint.task,
        **endpoint.protocol.model_dump(),
        "metric": endpoint.metric.name,
        "unit": endpoint.metric.unit,
        "higher_is_better": endpoint.metric.higher_is_better,
    }


def _numbers(correlation: Correlation | None) -> dict[str, Any]:
    if correlation is None:
        return {}
    return {
        **_with_ends("rho", correlation.rho),
        "rho_p": correlation.rho_test.p,
        "rho_draws": correlation.rho_test.draws,
        "rho_of_means": correlation.rho_of_means,
        **_with_ends("tau", correlation.tau),
        "tau_p": correlation.tau_test.p,
        "smallest_p": correlation.rho_test.smallest_p,
        **_with_ends("slope", correlation.slope),
        "slope_p": correlation.slope.p,
        "slope_se": correlation.slope.se,
        "slope_df": correlation.slope.df,
        "interval_covers": correlation.slope.covers,
        **{f"slope_variance_{name}": v for name, v in vars(correlation.components).items()},
        "detectable_slope": correlation.detectable_slope,
        "detectable_slope_low": correlation.detectable_low,
        "detectable_slope_high": correlation.detectable_high,
        "reseed_sd": correlation.reseed_sd,
    }


def _claimed(claim: Claim | None) -> dict[str, Any]:
    """Return the verdict of a pre-declared test or of a control, with its intervals."""
    if claim is None:
        return {}
    return {
        "verdict": claim.verdict,
        "p_holm": claim.p_holm,
        "p_equivalence": claim.p_equivalence,
        "smallest_effect": claim.smallest_effect,
        **{
            f"{name}_{key}": value
            for name in ("interval", "equivalence")
            for key, value in vars(getattr(claim, name)).items()
        },
    }


def _with_ends(name: str, estimate: Estimate | None, value: str = "") -> dict[str, float]:
    return {
        value or name: estimate.value if estimate else math.nan,
        f"{name}_low": estimate.low if estimate else math.nan,
        f"{name}_high": estimate.high if estimate else math.nan,
    }


def _finite(value: float | None) -> float | None:
    return round(value, 6) if value is not None and math.isfinite(value) else None
