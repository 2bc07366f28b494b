"""What the report shows beside the study: published evidence and the claims ledger."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ecgscale.ledger import CLAIMS
from ecgscale.ledger.claims import Judged, StatedClaim, judge, read_claims
from ecgscale.literature.publication import FOLDER, Publication, read_literature
from ecgscale.report.analysis import Analysis
from ecgscale.report.ledger import FILE as CLAIMS_FILE
from ecgscale.report.ledger import claims_frame, claims_section, study_at_hand
from ecgscale.report.literature import literature_frames, literature_section, look_up
from ecgscale.study.file import Study


@dataclass(frozen=True)
class Beside:
    """The literature and the ledger of a project; either may be empty.

    Attributes
    ----------
    root
        The project: its stores, and the files that claims name as evidence.
    """

    root: Path = Path()
    publications: Sequence[Publication] = field(default=())
    claims: Sequence[StatedClaim] = field(default=())


def read_beside(root: Path) -> Beside:
    """Read the literature and the ledger of a project.

    Raises
    ------
    BadInputError
        If a file is wrong; the message names the file and the key or claim.
    """
    return Beside(root, read_literature(root / FOLDER), read_claims(root / CLAIMS))


def beside_sections(
    study: Study,
    analysis: Analysis,
    beside: Beside,
    simulated: Sequence[str],
    tables: Collection[str],
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Return the sections of the page, and tables for machines by their path below ``reports/``.

    Parameters
    ----------
    simulated
        Sources that hold a simulated cohort.
    tables
        Other tables of the report, which a claim may name as evidence.

    Raises
    ------
    ClaimCheckError
        If a check of a claim no longer runs.
    """
    published = look_up(beside.publications, study.report.confidence)
    frames = {f"further/{name}.csv": frame for name, frame in literature_frames(published).items()}
    judged = judged_claims(study, analysis, beside, simulated, [*tables, *frames])
    if judged:
        frames[CLAIMS_FILE] = claims_frame(judged)
    sections = {
        "literature": literature_section(published, analysis.claims, bool(simulated)),
        "claims": claims_section(judged, beside.publications),
    }
    return sections, frames


def judged_claims(
    study: Study,
    analysis: Analysis,
    beside: Beside,
    simulated: Sequence[str],
    tables: Collection[str],
) -> list[Judged]:
    """Judge the claims of a project's ledger by a study; parameters as `beside_sections`."""
    at_hand = study_at_hand(
        study,
        analysis,
        simulated,
        stores=beside.root / "data" / "store",
        publications=beside.publications,
    )
    return judge(beside.claims, at_hand, beside.root, tables)
