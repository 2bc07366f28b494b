"""A downstream task on own labels, as YAML declares it: the keys under ``tasks`` of a source.

One task of each kind, over a table with the columns that are named::

    tasks:
      clinic-rhythm: # codes among the record's labels (table.labels, or #Dx in WFDB headers)
        kind: multi-label
        labels: {AF: [AF, AFL], pacing: PACE}
      clinic-findings: # one 0/1 column a label
        kind: multi-label
        columns: [lvh, lbbb]
      clinic-died:
        kind: binary
        column: outcome
        positive: [died]
      clinic-class:
        kind: multi-class
        column: class
        labels: [normal, borderline, abnormal]
      clinic-lvef:
        kind: regression
        column: lvef
        unit: "%"
        range: [5, 90]
        split: {by: patient, validation: 0.15, test: 0.25, seed: 0}
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from ecgscale.data.sources.demographics import UNKNOWN

Kind = Literal["multi-label", "multi-class", "binary", "regression"]

MISSING = tuple(sorted(UNKNOWN))
"""Cells that say nothing, in any case, unless a task says which do."""
YES, NO = ("1", "true", "yes"), ("0", "false", "no")
"""Cells of a column of 0 and 1, in any case, unless a task says which are positive."""


def _text(value: Any) -> Any:
    """Return a code as text: YAML reads 164889003 as a number."""
    if isinstance(value, bool):
        raise ValueError(
            "YAML reads an unquoted yes, no, on, off as true or false: put it in quotes"
        )
    return str(value) if isinstance(value, (int, float)) else value


def _texts(value: Any) -> Any:
    return (value,) if isinstance(value, (str, int, float)) else value


def _labels(value: Any) -> Any:
    """Write the short forms of labels out: a list of names, a code, a list of codes."""
    if isinstance(value, list):
        value = {_text(name): name for name in value}
    if not isinstance(value, dict):
        return value
    return {
        _text(name): given if isinstance(given, dict) else {"codes": given}
        for name, given in value.items()
    }


Code = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
Codes = Annotated[tuple[Code, ...], BeforeValidator(_texts), Field(min_length=1)]
LabelName = Annotated[str, Field(pattern=r"^[\w][\w .()+/-]*$")]


class LabelDeclaration(BaseModel, extra="forbid", frozen=True):
    """One label: its codes in the records, or its values in the column, and what it means."""

    codes: Codes
    description: str | None = None


class FoldSplit(BaseModel, extra="forbid", frozen=True):
    """Which published folds are held out; every other one is for training."""

    validation: tuple[int, ...] = Field(min_length=1)
    test: tuple[int, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _apart(self) -> "FoldSplit":
        both = set(self.validation) & set(self.test)
        if both:
            raise ValueError(f"fold {min(both)} is in validation and in test")
        return self


class SplitDeclaration(BaseModel, extra="forbid", frozen=True):
    """Where a task's split comes from: dealt by patient, a column, or published folds."""

    by: Literal["patient"] | None = None
    validation: float = Field(default=0.15, gt=0, lt=1)
    """Expected share of the patients; with `by`, as are `test` and `seed`."""
    test: float = Field(default=0.25, gt=0, lt=1)
    seed: int = 0
    """Tasks with the same seed and shares have the same split."""
    column: str | None = None
    """A column of the table with train, val (validation) or test; `split` is also the published
    split of readers that know one."""
    fold: FoldSplit | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "SplitDeclaration":
        ways = [key for key in ("by", "column", "fold") if getattr(self, key) is not None]
        if len(ways) != 1:
            said = " and ".join(ways) or "nothing"
            raise ValueError(f"says {said}; one of by: patient, column and fold decides")
        for key in ("validation", "test", "seed"):
            if self.by is None and key in self.model_fields_set:
                raise ValueError(f"{key} goes with by: patient, and only with it")
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nobody for training")
        return self


class TaskDeclaration(BaseModel, extra="forbid", frozen=True):
    """A task on the labels of a source."""

    kind: Kind
    title: str | None = None
    """For the report; default the task's name."""
    labels: Annotated[dict[LabelName, LabelDeclaration], BeforeValidator(_labels)] = Field(
        default={}
    )
    """multi-label: label to its codes among the record's labels. multi-class: class to its values
    in `column`, or without `column` to its codes among the record's labels."""
    column: str | None = None
    """binary, multi-class, regression: the column of the table that is predicted."""
    columns: Annotated[dict[LabelName, str], BeforeValidator(lambda c: _columns(c))] = Field(
        default={}
    )
    """multi-label: label to its column of 0 and 1; a list where the column is the label's name."""
    positive: Codes | None = None
    """Values that count as present (default 1, true, yes); binary without `column`: codes among
    the record's labels."""
    negative: Codes | None = None
    """Values that count as absent; default 0, false, no or, with `positive`, every other one."""
    missing: Annotated[
        tuple[Annotated[str, BeforeValidator(_text)], ...], BeforeValidator(_texts)
    ] = MISSING
    """Cells that say nothing: their record is left out of the task, and counted."""
    unlabelled: Literal["leave-out", "negative"] = "leave-out"
    """What a record without any code means to a task that reads codes."""
    absent_codes: Literal["refuse", "allow"] = "refuse"
    """What happens if no record has one of the codes: a code may be mistyped."""
    unit: str | None = None
    """regression: of the column."""
    range: tuple[float, float] | None = None
    """regression: values outside are refused."""
    split: SplitDeclaration = SplitDeclaration(by="patient")
    minimum_positives: int = Field(default=10, ge=1)
    """Test positives that a label needs to enter the macro mean."""
    version: int = Field(default=1, ge=1)
    known_issues: tuple[str, ...] = ()
    licence: str = "your own"
    citation: str = "your own"
    url: str = "your own"
    access: Literal["open", "credentialed", "restricted"] = "restricted"

    @model_validator(mode="after")
    def _consistent(self) -> "TaskDeclaration":
        stated = {key for key in self.model_fields_set if getattr(self, key)}
        takes, needs = _KEYS[self.kind]
        for key in sorted(stated & _OF_KINDS - takes):
            raise ValueError(f"{key} does not go with kind: {self.kind}")
        for keys in needs:
            if not stated & set(keys):
                raise ValueError(f"{' or '.join(keys)} is missing; kind: {self.kind} needs it")
        if {"labels", "columns"} <= stated:
            raise ValueError("labels and columns both say what the labels are")
        if "negative" in stated and not {"column", "columns"} & stated:
            raise ValueError("negative goes with column or columns, and only with them")
        if "negative" in stated and "positive" not in stated:
            raise ValueError("negative needs positive beside it")
        both = set(self.positive or ()) & set(self.negative or ())
        if both:
            raise ValueError(f"{min(both)!r} is in positive and in negative")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError("range must be [lowest, highest]")
        if self.kind == "multi-class":
            self._check_classes()
        return self

    def _check_classes(self) -> None:
        if len(self.labels) < 2:
            raise ValueError("labels must have two classes or more")
        home: dict[str, str] = {}
        for name, label in self.labels.items():
            for code in label.codes:
                if home.setdefault(code, name) != name:
                    raise ValueError(f"labels: {code!r} is in the classes {home[code]} and {name}")

    @property
    def asked(self) -> dict[str, str]:
        """Columns of the table that the task reads, to the key that names each."""
        split = {self.split.column: "split.column"} if self.split.column else {}
        own = {self.column: "column"} if self.column else {}
        return {**split, **own, **{name: f"columns.{x}" for x, name in self.columns.items()}}


def _columns(value: Any) -> Any:
    return {name: name for name in value} if isinstance(value, list) else value


_OF_KINDS = frozenset(
    ("labels", "column", "columns", "positive", "negative", "unlabelled", "unit", "range")
)
_KEYS: dict[Kind, tuple[frozenset[str], tuple[tuple[str, ...], ...]]] = {
    "multi-label": (
        frozenset(("labels", "columns", "positive", "negative", "unlabelled")),
        (("labels", "columns"),),
    ),
    "multi-class": (frozenset(("labels", "column", "unlabelled")), (("labels",),)),
    "binary": (
        frozenset(("column", "positive", "negative", "unlabelled")),
        (("column", "positive"),),
    ),
    "regression": (frozenset(("column", "unit", "range")), (("column",), ("unit",))),
}
"""The keys that a kind takes of those that not all have, and of which it needs one each."""

TaskName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
