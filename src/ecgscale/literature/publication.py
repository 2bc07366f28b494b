"""What a publication says of pretrained models: typed, and read from ``literature/*.yaml``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from ecgscale.errors import BadInputError
from ecgscale.settings import Settings, first_problem, read_mapping

FOLDER = "literature"
"""Of a project, where the files lie."""

Grade = Literal["R", "2nd", "C"]
"""How well something is known: R, read in the publication, its code or its tables of results; 2nd,
second-hand, in somebody's summary; C, computed here from what was read."""

GRADES: dict[Grade, str] = {
    "R": "read in the publication, its code or its tables of results",
    "2nd": "second-hand, in a summary by others",
    "C": "computed from what was read",
}

Exposure = Literal["seen", "not seen", "unclear"]
"""Whether recordings of a test set were among those that a model was pretrained on."""

LearnsFrom = Literal["signal", "labels", "reports", "clinical knowledge", "risk score"]

Metric = Literal["macro_auroc", "auroc", "auroc_change"]
PublishedReadout = Literal["finetune", "frozen", "linear", "scratch"]
"""``frozen`` is an attention head on a frozen encoder; ``scratch`` a network that was not
pretrained."""


class PublishedModel(Settings):
    """A pretrained model as a publication has it.

    Attributes
    ----------
    records, patients, parameters
        Of its pretraining data, and of its encoder; None where not known. 0 records: it was not
        pretrained.
    sources
        Data sets that it was pretrained on.
    exposure
        Test data set to whether the model had seen it.
    learns_from
        What pretraining reads.
    source
        Where the size and the sources are from, where not from the publication itself.
    grade
        Of the size, the sources and the exposure.
    """

    title: str = Field(min_length=1)
    records: int | None = Field(default=None, ge=0)
    patients: int | None = Field(default=None, ge=0)
    parameters: int | None = Field(default=None, ge=1)
    sources: tuple[str, ...] = ()
    exposure: dict[str, Exposure] = Field(default={})
    supervised: bool = False
    learns_from: tuple[LearnsFrom, ...] = ()
    source: str = ""
    note: str = ""
    grade: Grade


class PublishedResults(Settings):
    """Values of one task: model, then readout, to the value.

    Attributes
    ----------
    dataset
        Name of the test data set, as tasks name it; "several" for a mean over several.
    spread
        What the publication says of the spread, in words.
    """

    task: str = Field(pattern=r"^[\w ,./:-]+$")
    dataset: str = Field(min_length=1)
    metric: Metric
    grade: Grade
    spread: str = ""
    note: str = ""
    values: dict[str, dict[PublishedReadout, float]] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> "PublishedResults":
        low = -1.0 if self.metric == "auroc_change" else 0.0
        for model, values in self.values.items():
            for readout, value in values.items():
                if not low <= value <= 1.0:
                    raise ValueError(
                        f"values.{model}.{readout} is {value:g}; {self.metric} lies in [{low:g}, 1]"
                    )
        return self


class PublishedFinding(Settings):
    """What else a publication says, in this project's words; `of` scaling where it is about it."""

    text: str = Field(min_length=1)
    grade: Grade
    of: Literal["scaling", "other"] = "other"


class Publication(Settings):
    """One publication.

    Attributes
    ----------
    name
        That of its file.
    identifier
        arXiv number or DOI.
    published
        Year and month; None where not known.
    read_in
        What was read of it.
    """

    name: str
    title: str = Field(min_length=1)
    citation: str = Field(min_length=1)
    identifier: str = Field(min_length=1)
    url: str = Field(default="", pattern=r"^(https://\S+)?$")
    published: str | None = Field(default=None, pattern=r"^\d{4}-(0[1-9]|1[0-2])$")
    read_in: str = Field(min_length=1)
    models: dict[str, PublishedModel] = Field(default={})
    results: tuple[PublishedResults, ...] = ()
    findings: tuple[PublishedFinding, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "Publication":
        for place, results in enumerate(self.results):
            for model in results.values:
                if model not in self.models:
                    raise ValueError(f"results.{place}.values names {model!r}, not in models")
        tasks = [results.task for results in self.results]
        for task in tasks:
            if tasks.count(task) > 1:
                raise ValueError(f"results has the task {task!r} twice")
        if not (self.models or self.findings):
            raise ValueError("it has neither models nor findings")
        return self


@dataclass(frozen=True)
class Row:
    """One published value, with all that is known of its model."""

    publication: str
    model: str
    of: PublishedModel
    results: PublishedResults
    readout: PublishedReadout
    value: float

    @property
    def exposure(self) -> Exposure:
        """Whether the model had seen the test data set."""
        return self.of.exposure.get(self.results.dataset, "unclear")

    @property
    def columns(self) -> dict[str, Any]:
        """The row as flat values."""
        model, results = self.of, self.results
        return {
            **{"publication": self.publication, "model": self.model, **model_columns(model)},
            **{"task": results.task, "dataset": results.dataset, "exposure": self.exposure},
            **{"metric": results.metric, "readout": self.readout, "value": self.value},
            **{"spread": results.spread, "grade": results.grade, "note": results.note},
        }


def read_publication(path: Path) -> Publication:
    """Read one file.

    Raises
    ------
    BadInputError
        If it cannot be read, or a key is unknown, missing or out of range; the message names the
        file and the key.
    """
    stated = read_mapping(path)
    if "name" in stated:
        raise BadInputError(f"{path}: name: a publication has the name of its file")
    try:
        return Publication.model_validate({**stated, "name": path.stem})
    except ValidationError as error:
        raise BadInputError(f"{path}: {first_problem(error)}") from error


def read_literature(folder: Path) -> list[Publication]:
    """Read all files of a folder, sorted by name; a folder that does not exist has none.

    Raises
    ------
    BadInputError
        As `read_publication`.
    """
    return [read_publication(path) for path in sorted(folder.glob("*.yaml"))]


def published_rows(publications: Iterable[Publication]) -> list[Row]:
    """Return every published value: by publication, then as its file has them.

    Examples
    --------
    >>> model = {"title": "A", "records": 1000, "grade": "2nd"}
    >>> results = {"task": "af", "dataset": "ptb-xl", "metric": "auroc", "grade": "R"}
    >>> paper = Publication(
    ...     name="a",
    ...     title="A",
    ...     citation="A.",
    ...     identifier="arXiv:1",
    ...     read_in="all",
    ...     models={"a": model},
    ...     results=[{**results, "values": {"a": {"linear": 0.9}}}],
    ... )
    >>> [(row.model, row.readout, row.value, row.exposure) for row in published_rows([paper])]
    [('a', 'linear', 0.9, 'unclear')]
    """
    return [
        Row(publication.name, name, publication.models[name], results, readout, value)
        for publication in publications
        for results in publication.results
        for name, values in results.values.items()
        for readout, value in values.items()
    ]


def model_columns(model: PublishedModel) -> Mapping[str, Any]:
    """Return what is known of a model as flat values."""
    return {
        **{"title": model.title, "records": model.records, "patients": model.patients},
        **{"parameters": model.parameters, "sources": "; ".join(model.sources)},
        **{"supervised": model.supervised, "learns_from": "; ".join(model.learns_from)},
        **{"size_grade": model.grade, "size_source": model.source, "model_note": model.note},
    }
