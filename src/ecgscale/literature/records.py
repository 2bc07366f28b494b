"""Published results as run records, so that the tracking store holds them beside a study's runs."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ecgscale.literature.publication import (
    FOLDER,
    Publication,
    PublishedModel,
    PublishedResults,
    model_columns,
    published_rows,
    read_literature,
)
from ecgscale.runs.record import WORK, RunRecord, result_path
from ecgscale.settings import digest_of

STUDY = "literature"
"""What the records are of, in place of a study."""
UNDATED = "1970-01"


def literature_records(publications: Iterable[Publication]) -> Iterator[RunRecord]:
    """Yield a record for each model of each publication that has a value of it.

    A record's cell is ``<publication>/<model>``, its metrics are ``<task>.<metric>.<readout>``, and
    it is dated by the month of publication. The same files give the same records.
    """
    for publication in publications:
        rows = published_rows([publication])
        for name, model in publication.models.items():
            own = [row for row in rows if row.model == name]
            if not own:
                continue
            when = f"{publication.published or UNDATED}-01T00:00:00+00:00"
            metrics = {
                f"{_key(row.results)}.{row.results.metric}.{row.readout}": row.value for row in own
            }
            results = [row.results for row in own]
            grades = {f"grade of {_key(each)}": each.grade for each in results}
            params = {**model_columns(model), **grades}
            tags = {
                **{"title": publication.title, "citation": publication.citation},
                **{"identifier": publication.identifier, "url": publication.url},
                **{"read_in": publication.read_in, WORK: _work(publication, model, metrics)},
            }
            yield RunRecord(
                phase="literature",
                study=STUDY,
                cell=f"{publication.name}/{name}",
                axes={"role": "published", "publication": publication.name, "model": name},
                params=params,
                metrics=metrics,
                tags=tags,
                details={
                    "exposure": model.exposure,
                    "notes": {each.task: each.note for each in results if each.note},
                    "spread": {each.task: each.spread for each in results if each.spread},
                },
                started=when,
                ended=when,
            )


def _key(results: PublishedResults) -> str:
    """Return the name of a task as MLflow accepts it."""
    return results.task.replace(",", "")


def _work(publication: Publication, model: PublishedModel, metrics: dict[str, float]) -> str:
    said = publication.model_dump(mode="json", exclude={"models", "results", "findings"})
    return digest_of([said, model.model_dump(mode="json"), metrics])[:32]


def write_records(root: Path) -> int:
    """Write the records of a project's literature to ``results/literature``, and no others there.

    Returns
    -------
    int
        How many there are.

    Raises
    ------
    BadInputError
        If a file of the literature is wrong.
    """
    written = set()
    for record in literature_records(read_literature(root / FOLDER)):
        path = result_path(root / "results", record.phase, record.cell)
        record.write(path)
        written.add(path)
    for path in (root / "results" / "literature").rglob("*.json"):
        if path not in written:
            path.unlink()
    return len(written)
