"""The report stage: query the tracking store, compute, and write everything under reports/."""

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ecgscale.evaluation.endpoints import Endpoint, protocol_words
from ecgscale.evaluation.metrics import MainMetric
from ecgscale.evaluation.metrics import metrics as known_metrics
from ecgscale.report import figures, tables
from ecgscale.report.figures import Drawing
from ecgscale.report.levels import Levels
from ecgscale.report.page import Page, RunLink, to_html, to_markdown
from ecgscale.report.suites import missing_tasks, suites_table
from ecgscale.runs.record import read_results
from ecgscale.scaling.claims import Claim, claims, comparison_sentence, completeness
from ecgscale.scaling.collect import Collection, collect
from ecgscale.scaling.correlate import Comparison, Correlation, Group, compare, correlate, groups
from ecgscale.scaling.laws import LawComparison, fit_laws
from ecgscale.study.endpoints import endpoints, primary
from ecgscale.study.file import Study

if TYPE_CHECKING:
    from ecgscale.runs.tracking import TrackedRecord

REPORTS, RESULTS = Path("reports"), Path("results")
QUESTION = (
    "How does the amount of pretraining data correlate with downstream ECG classification accuracy?"
)
_PROVENANCE = (
    "git_commit",
    "git_dirty",
    "ecgscale_version",
    "python",
    "torch",
    "platform",
    "device",
    "recipe_digest",
)

_REGIME_LIMITS = {
    "fixed_steps": (
        "Steps are fixed: larger subsets are repeated less often, so the slope is that of unique "
        "data at equal compute."
    ),
    "fixed_epochs": (
        "Epochs are fixed: data and compute grow together and their effects cannot be told apart."
    ),
}


@dataclass(frozen=True)
class ReportSummary:
    """What the report says, in short.

    Attributes
    ----------
    headline
        One sentence with numbers for each pre-declared test, the first one's first.
    rho, rho_interval, p, slope, slope_interval, detectable_slope
        Of the first pre-declared test; NaN where not estimable. The interval of a slope is per
        doubling of the patients.
    claims
        All pre-declared tests.
    complete
        Whether every cell of the grid is there.
    html, markdown, runs
        Files written.
    """

    headline: str
    rho: float
    rho_interval: tuple[float, float]
    p: float
    slope: float
    slope_interval: tuple[float, float]
    detectable_slope: float
    claims: tuple[Claim, ...]
    complete: bool
    html: Path
    markdown: Path
    runs: Path


@dataclass(frozen=True)
class Analysis:
    """Every number of a report."""

    collection: Collection
    groups: list[Group]
    correlations: list[Correlation | None]
    comparisons: list[Comparison]
    laws: list[tuple[Group, LawComparison]]
    claims: list[Claim]


def build_report(study: Study, root: Path) -> ReportSummary:
    """Sync the tracking store, query it, and write the report of a study.

    Parameters
    ----------
    study
        Its settings; `study.report` was declared before any result was seen.
    root
        The project: ``results/`` is read, ``reports/`` is written.

    Raises
    ------
    BadInputError
        If the store cannot be reached, or its runs contradict each other.
    """
    from ecgscale.runs import tracking

    results = root / RESULTS
    tracking.sync(results, root)
    runs = {}
    for phase in ("pretrain", "evaluate"):
        wanted = {r.digest for r in read_results(results, phase) if r.study == study.study.name}
        runs[phase] = tracking.query(study.study.name, phase, root, wanted)
    return write_report(study, runs["pretrain"], runs["evaluate"], root / REPORTS)


def write_report(
    study: Study,
    pretrain: Sequence["TrackedRecord"],
    evaluate: Sequence["TrackedRecord"],
    out: Path,
) -> ReportSummary:
    """Write the report of given runs to `out`; the same records give the same bytes.

    Run ids stand only in ``runs.csv`` and in the page's table of runs.
    """
    analysis = analyse(study, pretrain, evaluate)
    titles = _titles(study)
    page = _page(study, analysis, titles, _provenance([*pretrain, *evaluate]))
    shutil.rmtree(out / "figures", ignore_errors=True)
    for folder in (out, out / "figures", out / "plots"):
        folder.mkdir(parents=True, exist_ok=True)
    for drawing in page.drawings:
        (out / "figures" / f"{drawing.name}.svg").write_text(drawing.wide, encoding="utf-8")
    analysis.collection.table.to_csv(out / "runs.csv", index=False)
    _correlation_frame(analysis).to_csv(out / "correlations.csv", index=False)
    _comparison_frame(analysis).to_csv(out / "comparisons.csv", index=False)
    _plot_frame(study, analysis).to_csv(out / "plots" / "scaling.csv", index=False)
    metrics = json.dumps(_metrics(analysis), indent=1, sort_keys=True)
    (out / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
    (out / "index.html").write_text(to_html(page), encoding="utf-8")
    (out / "report.md").write_text(to_markdown(page), encoding="utf-8")
    return _summary(analysis, out)


def analyse(
    study: Study, pretrain: Sequence["TrackedRecord"], evaluate: Sequence["TrackedRecord"]
) -> Analysis:
    """Compute every number of the report from a study's runs."""
    settings = study.report
    collection = collect(study, pretrain, evaluate)
    found = groups(study, collection)
    measured, first = endpoints(study), primary(study)
    found.sort(key=lambda g: (g.endpoint != first, measured.index(g.endpoint)))
    correlations = [
        correlate(
            group,
            confidence=settings.confidence,
            permutations=settings.permutations,
            bootstrap=settings.bootstrap,
            seed=settings.seed,
        )
        for group in found
    ]
    said = claims(study, found, correlations)
    return Analysis(
        collection,
        found,
        correlations,
        compare(study, collection, found, settings.confidence),
        [(claim.group, fit_laws(claim.group)) for claim in said],
        said,
    )


def _page(
    study: Study, analysis: Analysis, titles: dict[str, str], provenance: list[tuple[str, str]]
) -> Page:
    confidence, first = study.report.confidence, primary(study)
    collection = analysis.collection
    by_task = endpoints(study)[: len(study.evaluation.tasks)]
    pairs = list(zip(analysis.groups, analysis.correlations, strict=True))
    tasks = [pair for pair in pairs if pair[0].endpoint in by_task]
    others = [pair for pair in tasks if pair[0].endpoint != first]
    readouts = [pair for pair in pairs if pair[0].endpoint.task == first.task]
    shown = figures.panels(study, collection, [group for group, _ in tasks], titles)
    on_primary = [c for c in analysis.comparisons if c.endpoint == first]
    levels = Levels(study, collection)
    several = len(study.evaluation.protocols) > 1
    return Page(
        study=study.study.name,
        description=study.study.description,
        question=QUESTION,
        primary_task=titles[first.name] + (f" ({protocol_words(first.protocol)})" * several),
        cards=tables.primary_rows(analysis.claims, confidence),
        sentences=[claim.sentence for claim in analysis.claims],
        notes=[
            f"{claim.objective}: {note}" if len(analysis.claims) > 1 else note
            for claim in analysis.claims
            for note in claim.notes
        ],
        completeness=completeness(collection),
        incomplete=not collection.complete,
        scaling=[
            figures.scaling_figure(f"scaling-{i}" if i else "scaling", panel, confidence)
            for i, panel in enumerate(panel for panel in shown if panel.endpoint == first)
        ],
        multiples=_multiples([panel for panel in shown if panel.endpoint != first], confidence),
        slopes=_slopes(study, "slopes", tasks, titles, _OF_TASKS),
        readout_slopes=_slopes(
            study,
            "readout-slopes",
            readouts,
            {g.endpoint.name: protocol_words(g.endpoint.protocol) for g, _ in readouts},
            _OF_READOUTS,
        )
        if several
        else [],
        legend=list(enumerate(study.grid.objectives)),
        correlations=tables.correlations_table(
            *_apart([pair for pair in tasks if pair[0].endpoint == first]), titles, confidence
        ),
        other_correlations=tables.correlations_table(
            *_apart(others), titles, confidence, "other-correlations"
        )
        if others
        else None,
        readouts=[
            tables.readouts_table(study, readouts, collection, confidence),
            tables.readout_levels_table(
                study, levels, [e for e in endpoints(study) if e.task == first.task]
            ),
        ]
        if several
        else [],
        levels=tables.levels_table(study, levels, by_task, titles),
        suites=suites_table(study, levels),
        missing_tasks=missing_tasks(study),
        comparisons=tables.comparisons_table(on_primary, confidence),
        comparison_sentences=[comparison_sentence(c, confidence) for c in on_primary if c.slope],
        laws=tables.laws_table(analysis.laws),
        tasks=tables.tasks_table(study, collection, titles),
        data=tables.data_table(study, collection),
        gaps=tables.gaps_table(collection),
        collapsed=tables.collapse_table(study, collection),
        methods=_methods(study),
        limits=_limits(study, analysis),
        provenance=[("study", study.study.name), *provenance],
        runs=_links(collection),
        outside=list(collection.outside),
    )


_OF_TASKS = (
    "Slope per doubling of the pretraining patients, by task, with intervals. Tasks share test "
    "patients and are not independent."
)
_OF_READOUTS = (
    "Slope per doubling of the pretraining patients on the primary task, by readout, with "
    "intervals. All readouts share the encoders and the test patients."
)


def _apart(
    pairs: Sequence[tuple[Group, Correlation | None]],
) -> tuple[list[Group], list[Correlation | None]]:
    """Return the groups and what was found in each."""
    return [group for group, _ in pairs], [found for _, found in pairs]


def _multiples(shown: Sequence[figures.Panel], confidence: float) -> list[Drawing]:
    """Return small panels: classification in one figure, regressions in another."""
    kinds = {"tasks": True, "regressions": False}
    chosen = {
        name: [panel for panel in shown if panel.endpoint.measure.higher_is_better == higher]
        for name, higher in kinds.items()
    }
    return [
        figures.multiples_figure(name, panels, confidence)
        for name, panels in chosen.items()
        if panels
    ]


def _slopes(
    study: Study,
    name: str,
    pairs: Sequence[tuple[Group, Correlation | None]],
    titles: dict[str, str],
    caption: str,
) -> list[Drawing]:
    estimates = [c for _, c in pairs if c is not None]
    return [figures.slopes_figure(name, study, estimates, titles, caption)] if estimates else []


def _titles(study: Study) -> dict[str, str]:
    """Return the title of every endpoint, by its name."""
    from ecgscale.tasks.base import tasks as known

    names, found = set(known.names()), {}
    for endpoint in endpoints(study):
        task = endpoint.task
        title = known.get(task).metadata.title if task in names else task
        first = endpoint.name == task
        found[endpoint.name] = title if first else f"{title}, {protocol_words(endpoint.protocol)}"
    return found


def _methods(study: Study) -> list[tuple[str, str]]:
    from ecgscale.evaluation.baselines import baselines
    from ecgscale.evaluation.readouts import readouts as known

    predicted_from = "; ".join(baselines.get(name).words for name in study.grid.baselines)
    baseline_words = (
        f"Baselines read no encoder and learn from all labels: {predicted_from}. "
        if predicted_from
        else ""
    )
    level = f"{study.report.confidence:.0%}"
    measures = dict.fromkeys(endpoint.measure for endpoint in endpoints(study))
    errors = any(not measure.higher_is_better for measure in measures)
    score = "macro AUROC (of a regression: the mean absolute error)" if errors else "macro AUROC"
    readouts = dict.fromkeys(known.get(p.readout).method for p in study.evaluation.protocols)
    return [
        (
            "Runs and blocks",
            f"Each run is one pretraining, read out by {'; or by '.join(readouts)}. Sizes are "
            "nested subsets of patients; one nesting order with one seed is a block, with one run "
            "at every size.",
        ),
        (
            "Correlation",
            f"Spearman's \u03c1 and Kendall's \u03c4b of {score} against size, within each "
            "block and averaged over blocks. p is two-sided: the sizes of the runs are permuted "
            "within each block, over all arrangements where they can be enumerated. The test is "
            "conditional on these test patients. Pre-declared tests (each objective on the primary "
            "task) are adjusted by Holm's method.",
        ),
        (
            "Slope",
            f"Least-squares slope of {'the score' if errors else score} on log2 of the patients, "
            "one intercept a block. "
            f"Its {level} interval adds the run-to-run variance (block \u00d7 size interaction) "
            "and the variance over resamples of the test patients, paired across runs, with "
            "Student's t at Satterthwaite's degrees of freedom. Intervals of \u03c1 and \u03c4b "
            "resample runs and patients together.",
        ),
        (
            "Smallest detectable slope",
            "The true slope that a study of this design and noise would find, two-sided at level "
            "0.05, with probability 0.8.",
        ),
        (
            "Test-set resampling",
            f"{study.evaluation.bootstrap:,} resamples of the test patients, stratified by "
            "label, so that none loses its positives. Every run is given the same ones, under "
            "every readout.",
        ),
        (
            "Controls",
            "Random: the untrained encoder under the same readout. Supervised: the encoder trained "
            f"from scratch on labels. {baseline_words}Variants of an objective are paired with it "
            "by order and seed.",
        ),
    ]


def _limits(study: Study, analysis: Analysis) -> list[str]:
    limits = []
    simulated = [name for name in _sources_used(study) if _is_simulated(study, name)]
    if simulated:
        limits.append(
            f"Simulated data: {', '.join(simulated)}. The numbers show that the instrument works; "
            "they say nothing about patients."
        )
    blocks = len(study.grid.orders) * len(study.grid.seeds)
    if blocks < 3:
        limits.append(
            f"{blocks} replicate{'s' if blocks > 1 else ''} per size: run-to-run variance is "
            f"{'known poorly' if blocks > 1 else 'not known'}."
        )
    if len(study.grid.sizes) < 6:
        limits.append(
            f"{len(study.grid.sizes)} sizes: enough to order, too few to tell curves apart."
        )
    regimes = sorted({group.regime for group in analysis.groups})
    limits += [_REGIME_LIMITS[regime] for regime in regimes]
    limits.append(
        "One recipe per objective: hyper-parameters were not tuned again at each size, and another "
        "recipe may scale otherwise."
    )
    return limits


def _sources_used(study: Study) -> list[str]:
    return list(dict.fromkeys([*study.pool, *study.evaluation.data.values()]))


def _is_simulated(study: Study, source: str) -> bool:
    return source in study.simulate or study.sources[source].root.name in study.simulate


def _provenance(records: Sequence["TrackedRecord"]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key in _PROVENANCE:
        values = sorted({r.record.tags[key] for r in records if key in r.record.tags})
        if values:
            found.append((key.replace("_", " "), ", ".join(values)))
    for axis in ("objective", "encoder"):
        used = {
            f"{r.record.axes[axis]} {r.record.tags[f'{axis}_digest'][:12]}"
            for r in records
            if f"{axis}_digest" in r.record.tags
        }
        if used:
            found.append((f"recipe and code of each {axis}", ", ".join(sorted(used))))
    if records:
        found.append(("first run started", min(r.record.started for r in records)))
        found.append(("last run ended", max(r.record.ended for r in records)))
    return found


def _links(collection: Collection) -> list[RunLink]:
    server = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    base = f"{server}/#/experiments/0/runs/" if server.startswith("http") else ""
    rows = collection.table.drop_duplicates("cell").itertuples(index=False)
    links = []
    for row in rows:
        pretrain, evaluate = row.pretrain_run_id or "", row.evaluate_run_id or ""
        links.append(
            RunLink(
                str(row.cell),
                str(pretrain),
                str(evaluate),
                base + str(pretrain) if base and pretrain else "",
                base + str(evaluate) if base and evaluate else "",
            )
        )
    return links


def _correlation_frame(analysis: Analysis) -> pd.DataFrame:
    adjusted = {id(claim.group): claim.p_holm for claim in analysis.claims}
    rows = []
    for group, found in zip(analysis.groups, analysis.correlations, strict=True):
        row: dict[str, Any] = {
            "objective": group.objective,
            "encoder": group.encoder,
            "regime": group.regime,
            **_endpoint_columns(group.endpoint),
            "sizes": len(group.sizes),
            "blocks": len(group.blocks),
            "problem": group.problem,
            "left_out": "; ".join(group.left_out),
            "p_holm": adjusted.get(id(group), math.nan),
        }
        rows.append(row | (_numbers(found) if found else {}))
    return pd.DataFrame(rows)


def _endpoint_columns(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "endpoint": endpoint.name,
        "task": endpoint.task,
        **endpoint.protocol.model_dump(),
        "metric": endpoint.measure.name,
        "unit": endpoint.measure.unit,
        "higher_is_better": endpoint.measure.higher_is_better,
    }


def _numbers(found: Correlation) -> dict[str, float | str]:
    return {
        "rho": found.rho.value,
        "rho_low": found.rho.low,
        "rho_high": found.rho.high,
        "rho_p": found.rho_test.p,
        "rho_draws": found.rho_test.draws,
        "rho_of_means": found.rho_of_means,
        "tau": found.tau.value,
        "tau_low": found.tau.low,
        "tau_high": found.tau.high,
        "tau_p": found.tau_test.p,
        "smallest_p": found.rho_test.smallest_p,
        "slope": found.slope.value,
        "slope_low": found.slope.low,
        "slope_high": found.slope.high,
        "slope_se": found.slope.se,
        "slope_df": found.slope.df,
        "interval_covers": found.slope.covers,
        "detectable_slope": found.detectable_slope,
        "detectable_from": found.detectable_from,
        "reseed_sd": found.reseed_sd,
    }


def _comparison_frame(analysis: Analysis) -> pd.DataFrame:
    rows = []
    for comparison in analysis.comparisons:
        row: dict[str, Any] = {
            key: getattr(comparison, key) for key in ("objective", "control", "encoder", "regime")
        }
        row |= {**_endpoint_columns(comparison.endpoint), "size": comparison.size}
        for what in ("slope", "level"):
            estimate = getattr(comparison, what)
            values = asdict(estimate) if estimate else {}
            row |= {f"{what}_difference": values.get("value", math.nan)}
            row |= {f"{what}_{end}": values.get(end, math.nan) for end in ("low", "high")}
        rows.append(row | {"interval_covers": comparison.level.covers})
    return pd.DataFrame(rows)


def _plot_frame(study: Study, analysis: Analysis) -> pd.DataFrame:
    table = analysis.collection.table
    chosen = table[
        table["objective"].isin(study.grid.objectives)
        & (table["endpoint"] == primary(study).name)
        & ~table["collapsed"].astype(bool)
    ]
    axes = ["objective", "encoder", "regime", "size", "order", "seed"]
    main = [name for name, metric in known_metrics.items() if issubclass(metric, MainMetric)]
    return chosen[[*axes, "score", *main]].rename(columns={"size": "patients"})


def _metrics(analysis: Analysis) -> dict[str, Any]:
    """Return the numbers that DVC compares between commits; null where not estimable."""
    metrics: dict[str, Any] = {
        "headline": _headline(analysis.claims),
        "cells_missing": len(analysis.collection.gaps),
    }
    for claim in analysis.claims:
        found = claim.correlation
        numbers = _numbers(found) if found else {}
        metrics[f"{claim.objective}/{claim.encoder}"] = {
            key: _finite(numbers.get(key))
            for key in (
                "rho",
                "rho_low",
                "rho_high",
                "rho_p",
                "tau",
                "tau_p",
                "slope",
                "slope_low",
                "slope_high",
                "detectable_slope",
            )
        } | {
            "metric": claim.endpoint.measure.name,
            "score_largest": _finite(float(found.group.score[:, -1].mean()) if found else None),
        }
    return metrics


def _headline(said: Sequence[Claim]) -> str:
    return " ".join(claim.sentence for claim in said)


def _finite(value: Any) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), 6)


def _summary(analysis: Analysis, out: Path) -> ReportSummary:
    first = analysis.claims[0].correlation if analysis.claims else None
    nothing = (math.nan, math.nan)
    return ReportSummary(
        headline=_headline(analysis.claims),
        rho=first.rho.value if first else math.nan,
        rho_interval=(first.rho.low, first.rho.high) if first else nothing,
        p=first.rho_test.p if first else math.nan,
        slope=first.slope.value if first else math.nan,
        slope_interval=(first.slope.low, first.slope.high) if first else nothing,
        detectable_slope=first.detectable_slope if first else math.nan,
        claims=tuple(analysis.claims),
        complete=analysis.collection.complete,
        html=out / "index.html",
        markdown=out / "report.md",
        runs=out / "runs.csv",
    )
