"""Does what a search found at its smallest size hold at a larger one: a sentence, and tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ecgscale.report.tables import Rows, Table
from ecgscale.report.words import count, number, p_text, signed
from ecgscale.runs.record import RunRecord, read_results
from ecgscale.scaling.transfer import TrainedSetting, Transfer, transfer
from ecgscale.study.file import Study

METRIC = "validation_macro_auroc"
DIGITS = 4


@dataclass(frozen=True)
class SearchTransfer:
    """What became of the best settings of one search at a larger size."""

    objective: str
    encoder: str
    found: Transfer

    @property
    def sentence(self) -> str:
        """Say whether what won at the smallest size wins at the larger one."""
        found, many = self.found, len(self.found.settings)
        rank = found.ranks[found.winner]
        held = (
            f"won at {found.large:,} patients too"
            if found.wins
            else f"ranked {rank:g} of {many} at {found.large:,} patients "
            + (
                "(a training of it failed there)"
                if found.regret != found.regret
                else f"({number(found.regret, DIGITS)} below the best, {self._name(found.best)})"
            )
        )
        test = found.correlation
        return (
            f"{self.objective}: the settings that a search chose at {found.small:,} patients "
            f"{held}. Over {many} settings, each trained anew at both sizes "
            f"({count(found.seeds, 'seed')}), ranks at the two sizes correlate with Spearman "
            f"\u03c1 {signed(test.statistic, 2)} (p {p_text(test.p)}"
            f"{', exact' if not test.draws else ''}; perfect agreement would have "
            f"{p_text(test.smallest_p).removeprefix('= ')})."
        )

    def _name(self, place: int) -> str:
        name = self.found.settings[place]
        return "the study's own settings" if name == "default" else name.replace("-", " ")


def read_transfers(study: Study, results: Path) -> list[SearchTransfer]:
    """Return what the records of the study's searches say, by objective and larger size.

    Raises
    ------
    BadInputError
        If a record is malformed.
    """
    found = []
    records = {r.cell: r for r in read_results(results, "tune") if r.study == study.study.name}
    for objective in study.tune.objectives if study.tune else ():
        winner = records.get(f"{objective}/winner")
        if winner is None or "trial" not in winner.details:
            continue
        trained = _trained(objective, records, winner)
        for size in sorted({each.size for each in trained})[1:]:
            one = transfer(trained, f"trial-{winner.details['trial']:03d}", size)
            if one is not None:
                found.append(SearchTransfer(objective, str(winner.axes["encoder"]), one))
    return found


def _trained(
    objective: str, records: dict[str, RunRecord], winner: RunRecord
) -> list[TrainedSetting]:
    """Return the trainings of the search that has this winner."""
    return [
        TrainedSetting(
            record.details["setting"],
            int(record.axes["size"] or 0),
            int(record.axes["seed"] or 0),
            record.metrics[METRIC],
        )
        for cell, record in records.items()
        if cell.startswith(f"{objective}/transfer/")
        and record.tags["search"] == winner.tags["search"]
    ]


def transfers_table(transfers: Sequence[SearchTransfer]) -> Table:
    """Return a row for each setting of each search, at the smallest size and at a larger one."""
    rows: Rows = []
    for one in transfers:
        found = one.found
        for place, name in enumerate(found.settings):
            chosen = ", chosen" if place == found.winner else ""
            rows.append(
                [
                    one.objective,
                    f"{name}{chosen}",
                    f"{found.small:,} and {found.large:,}",
                    number(found.at_small[place], DIGITS),
                    number(found.at_large[place], DIGITS),
                    f"{found.ranks[place]:g}",
                ]
            )
    return Table(
        "tuning",
        "Settings that a search found at its smallest size, and the study's own (default), each "
        "trained anew at both sizes: validation macro AUROC of the linear probe, and rank at the "
        "larger size.",
        ("Objective", "Settings", "Patients", "At the smaller", "At the larger", "Rank there"),
        rows,
        stub=2,
    )


def transfers_frame(transfers: Sequence[SearchTransfer]) -> pd.DataFrame:
    """Return the same for machines, with the numbers of the comparison in every row."""
    columns = (
        *("objective", "encoder", "setting", "chosen", "small", "large", "at_small", "at_large"),
        *("rank_at_large", "seeds", "spearman", "p", "smallest_p", "draws", "regret"),
    )
    rows = [
        (
            *(one.objective, one.encoder, name, place == one.found.winner),
            *(one.found.small, one.found.large),
            *(one.found.at_small[place], one.found.at_large[place], one.found.ranks[place]),
            *(one.found.seeds, one.found.correlation.statistic, one.found.correlation.p),
            *(one.found.correlation.smallest_p, one.found.correlation.draws, one.found.regret),
        )
        for one in transfers
        for place, name in enumerate(one.found.settings)
    ]
    return pd.DataFrame(rows, columns=list(columns))
