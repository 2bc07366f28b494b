"""The claims ledger on the page, as a table, and for machines."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pandas as pd

from ecgscale.ledger.base import LedgerVerdict
from ecgscale.ledger.claims import Evidence, Judged
from ecgscale.ledger.study import StudyAtHand
from ecgscale.literature.publication import Publication
from ecgscale.report.analysis import Analysis
from ecgscale.report.tables import Table
from ecgscale.report.words import count
from ecgscale.study.file import Study

FILE = "further/claims.csv"
"""Below ``reports/``."""
ABOUT = (
    "Verdicts are computed by checks that ran when this report was made. A number is compared only "
    "where this study has the data that it was claimed of; elsewhere it is not testable here, "
    "whatever the measured value."
)


def study_at_hand(
    study: Study, analysis: Analysis, simulated: Sequence[str], **more: Any
) -> StudyAtHand:
    """Return what the checks see of a study.

    Parameters
    ----------
    simulated
        Sources that hold a simulated cohort.
    **more
        ``stores`` and ``publications`` of `StudyAtHand`.
    """
    return StudyAtHand(
        name=study.study.name,
        confidence=study.report.confidence,
        design=analysis.design,
        collection=analysis.collection,
        results=analysis.results,
        encoders={name: (one.kind, one.params) for name, one in study.encoders.items()},
        readers={name: source.reader for name, source in study.sources.items()},
        pool=tuple(study.pool),
        data=study.evaluation.data,
        simulated=frozenset(simulated),
        **more,
    )


def claims_section(judged: Sequence[Judged], publications: Sequence[Publication]) -> dict[str, Any]:
    """Return what the section shows; empty where a project has no ledger."""
    if not judged:
        return {}
    known = {publication.name: publication for publication in publications}
    return {
        "sentence": f"{summary(judged)} {ABOUT}",
        "entries": [
            {
                **{"id": one.claim.id, "claim": one.claim.claim, "verdict": one.verdict},
                **{"found": said_of(one), "made_in": one.claim.made_in},
                "links": [_link(link, known) for link in one.claim.evidence],
                "evidence": [text for _, found in one.findings for text in found.evidence],
            }
            for one in judged
        ],
        "table": claims_table(judged),
        "file": FILE,
    }


def said_of(one: Judged) -> list[str]:
    """Return what the checks of a claim found, and what its verdict leaves open."""
    return [*(found.said for _, found in one.findings), *filter(None, [one.claim.note])]


def _link(link: Evidence, known: Mapping[str, Publication]) -> dict[str, str]:
    """Return a link of the page: its text, and an address where it has one."""
    if link.published is not None:
        publication = known[link.published]
        return {"text": publication.identifier, "url": publication.url}
    text = link.file or link.symbol or link.csv or ""
    return {"text": text, "url": link.csv or ""}


def summary(judged: Sequence[Judged]) -> str:
    """Say in one sentence how many claims have which verdict."""
    counts = Counter(one.verdict for one in judged)
    parts = [f"{counts[verdict]} {verdict}" for verdict in get_args(LedgerVerdict)]
    return f"Of {count(len(judged), 'claim')}, {parts[0]}, {parts[1]} and {parts[2]}."


def claims_table(judged: Sequence[Judged]) -> Table:
    """Return the ledger as a table: a row for each claim, with what its checks found."""
    return Table(
        "claims",
        "Verdicts are computed by checks that ran when this report was made.",
        ("Claim", "Verdict", "What the checks found", "Evidence"),
        [
            [one.claim.claim, one.verdict, " ".join(said_of(one)), "; ".join(evidence_of(one))]
            for one in judged
        ],
    )


def evidence_of(one: Judged) -> list[str]:
    """Return where a claim can be looked up, as text."""
    links = [f"made in {one.claim.made_in}", *(link.text for link in one.claim.evidence)]
    links += [text for _, found in one.findings for text in found.evidence]
    return list(dict.fromkeys(links))


def claims_frame(judged: Sequence[Judged]) -> pd.DataFrame:
    """Return a row for each check of each claim."""
    return pd.DataFrame(
        [
            {
                **{"id": one.claim.id, "claim": one.claim.claim, "kind": one.claim.kind},
                **{"verdict": one.verdict, "check": name, "check_verdict": found.verdict},
                **{"found": found.said, "claimed": _number(found.claimed)},
                **{"value": _number(found.value), "low": _number(found.low)},
                **{"high": _number(found.high), "made_in": one.claim.made_in},
                **{"evidence": "; ".join(evidence_of(one)), "note": one.claim.note},
            }
            for one in judged
            for name, found in one.findings
        ]
    )


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
