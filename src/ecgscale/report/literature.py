"""Published evidence on the page: what other models show, beside what this study shows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ecgscale.literature.publication import (
    GRADES,
    Publication,
    PublishedReadout,
    Row,
    published_rows,
)
from ecgscale.report.tables import Rows, Table
from ecgscale.report.words import DASH, ends, number, p_text, signed, with_interval
from ecgscale.scaling.claims import Claim
from ecgscale.scaling.published import AcrossModels, Association, across_models

READOUTS: dict[PublishedReadout, str] = {
    "finetune": "fine-tuned",
    "frozen": "attention on the frozen encoder",
    "linear": "linear probe",
    "scratch": "not pretrained",
}
FILE = "further/literature.csv"


@dataclass(frozen=True)
class Published:
    """Published evidence, and what is computed from it.

    Attributes
    ----------
    rows
        Every published value.
    across
        The correlations over the models of one publication, by task and readout.
    """

    publications: Sequence[Publication]
    rows: Sequence[Row]
    across: Sequence[AcrossModels]


def look_up(publications: Sequence[Publication], confidence: float) -> Published:
    """Compute what the page says of published evidence."""
    rows = published_rows(publications)
    return Published(publications, rows, across_models(rows, confidence))


def literature_section(
    found: Published, claims: Sequence[Claim], simulated: bool
) -> dict[str, Any]:
    """Return what the section shows; empty where a project has no literature.

    Parameters
    ----------
    claims
        The study's pre-declared tests, which the published correlation stands beside.
    simulated
        Whether the study's recordings are simulated.
    """
    if not found.publications:
        return {}
    first = _first_test(found.across)
    return {
        "sentences": [*_across_sentences(found, first), *_controlled_sentences(claims, simulated)],
        "beside": _beside_table(first, claims),
        "reasons": _reasons(found, first, claims),
        "across": _across_table(found.across),
        "findings": [
            {"text": finding.text, "grade": finding.grade, "source": publication.identifier}
            for publication in found.publications
            for finding in publication.findings
            if finding.of == "scaling"
        ],
        "every": _values_table(found),
        "sources": [
            {
                "text": f"{publication.citation} {publication.title}. {publication.identifier}.",
                "read_in": publication.read_in,
                "url": publication.url,
            }
            for publication in found.publications
        ],
        "grades": "; ".join(f"[{grade}] {meaning}" for grade, meaning in GRADES.items()),
        "file": FILE,
    }


def _first_test(across: Sequence[AcrossModels]) -> list[AcrossModels]:
    """Return all readouts of the first test set."""
    return [one for one in across if one.results == across[0].results]


def _across_sentences(found: Published, first: Sequence[AcrossModels]) -> list[str]:
    if not first:
        return []
    values = ", ".join(f"{signed(one.whole.rho, 2)} ({READOUTS[one.readout]})" for one in first)
    lowest = min(first, key=lambda one: one.range_without[0][1])
    highest = max(first, key=lambda one: one.range_without[1][1])
    (without_low, low), (without_high, high) = lowest.range_without[0], highest.range_without[1]
    rows = [row for row in found.rows if row.results == first[0].results and row.of.records]
    sized = "".join(f"[{grade}]" for grade in sorted({row.of.grade for row in rows}))
    (source,) = {
        publication.identifier
        for publication in found.publications
        if publication.name == first[0].publication
    }
    return [
        f"Across {first[0].whole.n} published models ({source}; scores [{first[0].results.grade}], "
        f"sizes {sized}), Spearman's \u03c1 of the AUROC on \u201c{first[0].results.task}\u201d "
        f"with the number of pretraining recordings is {values}; the smallest p is "
        f"{min(one.whole.p for one in first):.2g}.",
        f"Single models move it: left out one at a time, \u03c1 runs from {signed(low, 2)} "
        f"({READOUTS[lowest.readout]}, without {without_low}) to {signed(high, 2)} "
        f"({READOUTS[highest.readout]}, without {without_high}).",
        *_exposure_sentence(first),
    ]


def _exposure_sentence(first: Sequence[AcrossModels]) -> list[str]:
    parts = first[0].by_exposure
    if not {"seen", "not seen"} <= parts.keys():
        return []
    said = ", ".join(
        f"{signed(one.by_exposure['not seen'].rho, 2)} {READOUTS[one.readout]}" for one in first
    )
    seen, unseen = parts["seen"].n, parts["not seen"]
    return [
        f"{seen} of them had seen recordings of the test data in pretraining and {unseen.n} had "
        f"not; among these, \u03c1 is {said}, and no order of {unseen.n} models has a p below "
        f"{unseen.smallest_p:.2g}."
    ]


def _controlled_sentences(claims: Sequence[Claim], simulated: bool) -> list[str]:
    known = [claim for claim in claims if claim.correlation]
    if not known:
        return ["This study has no correlation yet to set beside it."]
    said = "; ".join(
        f"{claim.group.objective} {signed(claim.correlation.rho.value, 2)} ({claim.verdict})"
        for claim in known
        if claim.correlation
    )
    data = "simulated recordings" if simulated else "its recordings"
    return [
        f"In this study, where nothing but the number of patients changes, \u03c1 on {data} is: "
        f"{said}."
    ]


def _beside_table(first: Sequence[AcrossModels], claims: Sequence[Claim]) -> Table:
    rows: Rows = [
        [
            "across published models",
            f"{one.results.task}, {READOUTS[one.readout]}",
            f"{one.whole.n} models",
            _sizes(one.sizes, "recordings"),
            f"{signed(one.whole.rho, 2)} ({ends(one.whole.low, one.whole.high, 2)})",
            p_text(one.whole.p).removeprefix("= "),
            f"{signed(one.slope, 4)} ({ends(one.slope_low, one.slope_high, 4)})",
        ]
        for one in first
    ]
    for claim in claims:
        found, group = claim.correlation, claim.group
        if found is None:
            continue
        digits = group.endpoint.metric.slope_digits
        rows.append(
            [
                "within this study",
                f"{group.endpoint.title or group.endpoint.task}, {group.objective}",
                f"{len(group.sizes)} sizes \u00d7 {len(group.blocks)}",
                _sizes(group.sizes.tolist(), "patients"),
                with_interval(found.rho, 2),
                p_text(found.rho_test.p).removeprefix("= "),
                with_interval(found.slope, digits),
            ]
        )
    return Table(
        "published-beside",
        "Across models everything differs, within the study only the amount of data. \u03c1 is "
        "Spearman's coefficient with size; slopes are changes of the score per doubling. The "
        "interval of the published \u03c1 is approximate.",
        (
            *("Correlation", "Measured by", "Points", "Range of sizes"),
            *("Spearman \u03c1", "p", "Slope per doubling"),
        ),
        rows,
        stub=2,
    )


def _sizes(sizes: Sequence[int], noun: str) -> str:
    return f"{min(sizes):,} to {max(sizes):,} {noun}"


def _reasons(found: Published, first: Sequence[AcrossModels], claims: Sequence[Claim]) -> list[str]:
    """Return why the two correlations may differ, with numbers where there are any."""
    reasons = [
        "Models differ in architecture, objective, recipe, input length and number of parameters. "
        "Each of these can outweigh the amount of data, and goes with it.",
        "Published sizes count recordings, of one or of many hospitals, and are second-hand; this "
        "study counts patients of one pool.",
        "Which models were published, and which of them were compared, is no random choice.",
    ]
    if not first:
        return reasons
    whole = first[0].whole
    if not math.isnan(whole.needed):
        reasons.append(
            f"{whole.n} models are few: only a \u03c1 of {whole.needed:.2f} or more would have "
            "p of at most .05. Such a result speaks neither for nor against an effect of data."
        )
    reasons += _reasons_of_models(found, first[0])
    sizes = [size for claim in claims for size in claim.group.sizes.tolist()]
    if sizes:
        reasons.append(
            f"This study's sizes end at {max(sizes):,} patients, the published ones begin at "
            f"{min(first[0].sizes):,} recordings: a curve can rise in the one range and be flat in "
            "the other."
        )
    return reasons


def _reasons_of_models(found: Published, one: AcrossModels) -> list[str]:
    """Return what is known of single models of a test: labels, exposure, and the ceiling."""
    rows = [row for row in found.rows if row.results == one.results]
    pretrained = {row.of.title: row for row in rows if row.of.records}
    supervised = [name for name, row in pretrained.items() if row.of.supervised]
    seen = {name: row for name, row in pretrained.items() if row.exposure == "seen"}
    plain = [row for row in rows if row.readout == "scratch"]
    reasons = []
    if supervised:
        reasons.append(
            f"{', '.join(supervised)} learned from labels, which are close to those of the tests."
        )
    if seen:
        sizes = [row.of.records or 0 for row in seen.values()]
        reasons.append(
            f"{', '.join(seen)} were pretrained on recordings of the test set too; they are of "
            f"{_sizes(sizes, 'recordings')}, where the largest models have {max(one.sizes):,}."
        )
    if plain:
        best, top = (
            max(some, key=lambda row: row.value) for some in (plain, list(_not_scratch(rows)))
        )
        reasons.append(
            f"Near the ceiling, little is left for data to add: the best network without "
            f"pretraining reaches {best.value:.3f} in this test, the best pretrained one "
            f"{top.value:.3f}."
        )
    return reasons


def _not_scratch(rows: Sequence[Row]) -> Iterator[Row]:
    return (row for row in rows if row.readout != "scratch")


def _across_table(across: Sequence[AcrossModels]) -> Table:
    rows: Rows = []
    for one in across:
        (low_model, low), (high_model, high) = one.range_without
        rows.append(
            [
                one.results.task,
                READOUTS[one.readout],
                str(one.whole.n),
                f"{signed(one.whole.rho, 2)} ({ends(one.whole.low, one.whole.high, 2)})",
                p_text(one.whole.p).removeprefix("= "),
                f"{signed(low, 2)} (without {low_model})",
                f"{signed(high, 2)} (without {high_model})",
                _part(one.by_exposure.get("not seen")),
                _part(one.by_exposure.get("seen")),
                f"[{one.results.grade}]",
            ]
        )
    return Table(
        "published-across",
        "Spearman's \u03c1 of the macro AUROC with the number of pretraining recordings, over "
        "the models of one publication, with approximate intervals; p by exact permutation, "
        f"{len(rows)} tests, none adjusted. Then the lowest and highest \u03c1 with one model left "
        "out, and \u03c1 of the models that had not, or had, seen the test data. Grade is that of "
        "the scores; the sizes are second-hand.",
        (
            *("Test", "Readout", "Models", "Spearman \u03c1", "p", "Lowest", "Highest"),
            *("Not seen", "Seen", "Grade"),
        ),
        rows,
        stub=2,
    )


def _part(found: Association | None) -> str:
    if found is None:
        return DASH
    if math.isnan(found.rho):
        return f"n/a (n = {found.n})"
    return f"{signed(found.rho, 2)} (n = {found.n})"


def _values_table(found: Published) -> Table:
    places: dict[tuple[str, str, str], list[Row]] = {}
    for row in found.rows:
        places.setdefault((row.publication, row.results.task, row.model), []).append(row)
    rows: Rows = []
    for (publication, task, _), own in places.items():
        row = own[0]
        values = {each.readout: each.value for each in own}
        digits = 4 if any(round(value, 3) != value for value in values.values()) else 3
        change = row.results.metric == "auroc_change"
        rows.append(
            [
                row.of.title,
                publication,
                _size(row),
                task + " (difference)" * change,
                row.exposure,
                *(
                    (signed if change else number)(values[readout], digits)
                    if readout in values
                    else DASH
                    for readout in READOUTS
                ),
                f"[{row.results.grade}]",
            ]
        )
    return Table(
        "published-values",
        "Every published value: AUROC, or a difference of AUROC where it says so. The grade "
        "after the size is that of the size, the last one that of the values. A dash: not "
        "published, or not read.",
        (
            *("Model", "Publication", "Pretraining recordings", "Test", "Had it seen the data?"),
            *(title.capitalize() for title in READOUTS.values()),
            "Grade",
        ),
        rows,
        stub=2,
    )


def _size(row: Row) -> str:
    model = row.of
    if model.records is not None:
        return f"{model.records:,} [{model.grade}]"
    if model.patients is not None:
        return f"of {model.patients:,} patients [{model.grade}]"
    return "not known"


def literature_frames(found: Published) -> dict[str, pd.DataFrame]:
    """Return the published values and the correlations over models, for machines."""
    if not found.publications:
        return {}
    by_name = {publication.name: publication for publication in found.publications}
    values = [
        {
            **row.columns,
            "identifier": by_name[row.publication].identifier,
            "url": by_name[row.publication].url,
            "read_in": by_name[row.publication].read_in,
        }
        for row in found.rows
    ]
    across = [
        {
            **{"publication": one.publication, "task": one.results.task, "readout": one.readout},
            **{"part": part, "n": of.n, "rho": of.rho, "rho_low": of.low, "rho_high": of.high},
            **{"p": of.p, "smallest_p": of.smallest_p, "needed": of.needed, "mean": of.mean},
            **(_whole_columns(one) if of is one.whole else {}),
        }
        for one in found.across
        for part, of in (("all", one.whole), *one.by_exposure.items())
    ]
    return {
        "literature": pd.DataFrame(values),
        "literature-correlations": pd.DataFrame(across),
    }


def _whole_columns(one: AcrossModels) -> dict[str, Any]:
    (low_model, low), (high_model, high) = one.range_without
    return {
        **{"without_lowest": low_model, "rho_lowest": low},
        **{"without_highest": high_model, "rho_highest": high},
        **{"slope": one.slope, "slope_low": one.slope_low, "slope_high": one.slope_high},
    }
