"""What the report says of recordings that are in a study twice, and of what others trained on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ecgscale.data.copies import MINIMUM_SECONDS, IdentityManifest, SourceCheck
from ecgscale.report.tables import Table
from ecgscale.report.words import count
from ecgscale.study.file import Study

if TYPE_CHECKING:
    from ecgscale.runs.tracking import TrackedRecord


def sentence(identity: IdentityManifest | None) -> str:
    """Say how recordings were told apart, and what was found."""
    if identity is None:
        return (
            "Recordings were told apart by their patients' ids alone: the same recording under "
            "another id would not have been noticed."
        )
    copies = sum(pair.copies for pair in identity.pairs)
    undecided = sum(pair.undecided for pair in identity.pairs)
    found = sum(check.records for check in identity.held_out)
    text = (
        "All recordings were compared by content, whatever their ids: "
        f"{count(copies, 'pair')} of records {'is' if copies == 1 else 'are'} one recording, and "
        f"{count(found, 'record')} under another id {'is' if found == 1 else 'are'} of a held-out "
        "patient. No patient with one of those is pretrained on."
    )
    if undecided:
        text += (
            f" {count(undecided, 'pair')} could not be decided, because each beat is like the next."
        )
    return text


def copies_table(study: Study, identity: IdentityManifest | None) -> Table:
    """Return, for each source of the pool and each of the tasks, what was compared and found."""
    rows = []
    if identity is not None:
        found = {(check.source, check.held_out): check for check in identity.held_out}
        for source in study.pool:
            for held_out in sorted(set(study.evaluation.data.values())):
                check = found.get((source, held_out))
                compared = [identity.sources[name] for name in dict.fromkeys((source, held_out))]
                rows.append(
                    [
                        source,
                        held_out,
                        " \u00d7 ".join(f"{part.checked:,}" for part in compared),
                        f"{check.records if check else 0:,}",
                        f"{check.patients if check else 0:,}",
                        "; ".join(filter(None, map(_unchecked, compared))) or "none",
                        _leads(compared),
                    ]
                )
    return Table(
        "copies",
        "Contamination check: records of each source of the pretraining pool that are recordings "
        "of held-out patients under another id, whatever their rate, filter, gain or order of "
        f"leads. Not compared: records below {MINIMUM_SECONDS:g} s, without beats, or whose beats "
        "are all alike. Long recordings are compared where their stored parts overlap. Fewer leads "
        "on one side: more copies are missed.",
        (
            *("Pool", "Held-out data", "Records compared", "Copies", "Patients left out"),
            *("Not compared", "Leads"),
        ),
        rows,
        stub=2,
    )


def seen_table(runs: Sequence["TrackedRecord"]) -> Table:
    """Return what each imported encoder is known to have seen, and of which held-out data."""
    records = {run.cell: run.record for run in runs if run.record.axes.get("role") == "external"}
    rows = [
        [cell, str(record.details.get("seen", "not recorded")), _shared(record.details)]
        for cell, record in sorted(records.items())
    ]
    return Table(
        "seen",
        "Imported encoders: what they are known to have been pretrained on. A result on a data set "
        "that an encoder has seen is not one on unseen patients.",
        ("Encoder", "Pretraining data", "Of them in this evaluation"),
        rows,
    )


def _shared(details: Mapping[str, object]) -> str:
    shared = details.get("seen_datasets")
    if not isinstance(shared, list):
        return "not known"
    return ", ".join(f"{name} (contaminated)" for name in shared) or "none"


def _unchecked(check: SourceCheck) -> str:
    return ", ".join(f"{number:,} {reason}" for reason, number in check.unchecked.items())


def _leads(compared: Sequence[SourceCheck]) -> str:
    return " \u00d7 ".join(str(len(check.leads)) for check in compared)
