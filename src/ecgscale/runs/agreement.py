"""Does a run in the tracking store say what its record says? Each difference is named by its key.

The record is the truth. The store is a view of it, which people and programs can edit.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ecgscale.runs import display
from ecgscale.runs.record import RunRecord, Scalar

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARAM_LIMIT, TAG_LIMIT, DIGEST_LIMIT = 6000, 5000, 36
"""What MLflow holds of a parameter, of a tag and of a data set's digest; the rest is cut."""
_BY_MLFLOW = "system/"
"""First part of the metrics that MLflow measures itself."""


def disagreements(run: "Run", record: RunRecord, own: Mapping[str, str]) -> list[str]:
    """Return what a finished run says otherwise than its record, a clause for each key.

    Tags, descriptions and notes that people add are theirs; a further parameter or metric is not,
    as it would stand beside the others.

    Parameters
    ----------
    run
        As MLflow answers.
    own
        The tags by which the run is known as that of the record.
    """
    tags = {**own, **{name: tag_text(value) for name, value in record.tags.items()}}
    params = {name: param_text(value) for name, value in params_of(record).items()}
    expected = expected_metrics(record)
    return [
        *([] if run.info.status == "FINISHED" else [f"its status is {run.info.status}"]),
        *_texts("parameter", run.data.params, params, may_have_more=False),
        *_texts("tag", run.data.tags, tags, may_have_more=True),
        *_numbers(run.data.metrics, {**_plainly(run.data.metrics, record), **expected}),
        *_texts("data set", *_data_sets(run, record), may_have_more=False),
    ]


def params_of(record: RunRecord) -> dict[str, Scalar]:
    """Return a record's parameters as a run has them: its own, and the cell's coordinates."""
    axes = {f"cell.{name}": value for name, value in record.axes.items() if value is not None}
    return {**record.params, **axes}


def expected_metrics(record: RunRecord) -> dict[str, float]:
    """Return the last value of every metric, by the names that MLflow shows."""
    names = display.metric_names(record)
    last = {
        display.curve_name(name): points[-1][1] for name, points in record.curves.items() if points
    }
    final = {names[name]: value for name, value in record.metrics.items()}
    return {**display.sizes(record), **last, **final}


def _plainly(stored: Mapping[str, float], record: RunRecord) -> dict[str, float]:
    """Return what a run has beside that under a record's own names, as stores of before do."""
    last = {name: points[-1][1] for name, points in record.curves.items() if points}
    own = {display.plain_name(n): value for n, value in {**last, **record.metrics}.items()}
    return {name: value for name, value in own.items() if name in stored}


def param_text(value: Scalar) -> str:
    """Return a parameter as MLflow holds it."""
    text = str(value)
    return text if len(text) <= PARAM_LIMIT else text[: PARAM_LIMIT - 1] + "…"


def tag_text(value: str) -> str:
    """Return a tag as MLflow holds it."""
    return value[:TAG_LIMIT]


def same_number(a: float, b: float) -> bool:
    """Whether two numbers are one, NaN too."""
    return a == b or (math.isnan(a) and math.isnan(b))


def _data_sets(run: "Run", record: RunRecord) -> tuple[dict[str, str], dict[str, str]]:
    stored = run.inputs.dataset_inputs if run.inputs else []
    return (
        {item.dataset.name: item.dataset.digest for item in stored},
        {item.name: item.digest[:DIGEST_LIMIT] for item in record.inputs},
    )


def _texts(
    kind: str, stored: Mapping[str, str], expected: Mapping[str, str], may_have_more: bool
) -> list[str]:
    found = []
    for name, value in sorted(expected.items()):
        if name not in stored:
            found.append(f"{kind} {name} is missing")
        elif stored[name] != value:
            told = f"{_short(stored[name])}, its record says {_short(value)}"
            found.append(f"{kind} {name} is {told}")
    if not may_have_more:
        further = sorted(set(stored) - set(expected))
        found += [f"{kind} {name} is not in its record" for name in further]
    return found


def _numbers(stored: Mapping[str, float], expected: Mapping[str, float]) -> list[str]:
    found = []
    for name, value in sorted(expected.items()):
        if name not in stored:
            found.append(f"metric {name} is missing")
        elif not same_number(stored[name], value):
            # As many digits as tell them apart.
            told = next(
                pair
                for digits in (6, 17)
                if len(set(pair := (f"{stored[name]:.{digits}g}", f"{value:.{digits}g}"))) > 1
            )
            found.append(f"metric {name} is {told[0]}, its record says {told[1]}")
    further = sorted(
        name for name in set(stored) - set(expected) if not name.startswith(_BY_MLFLOW)
    )
    return found + [f"metric {name} is not in its record" for name in further]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


def curve_problems(client: "MlflowClient", run: "Run", record: RunRecord) -> list[str]:
    """Return where curves differ from the record's, each a clause."""
    found = []
    for name, points in record.curves.items():
        final = record.metrics.get(name, points[-1][1] if points else math.nan)
        if points and not same_number(points[-1][1], final):
            points = [*points, (points[-1][0], final)]
        history = client.get_metric_history(run.info.run_id, display.curve_name(name))
        # As text, NaN is NaN.
        stored = Counter((point.step, repr(point.value)) for point in history)
        expected = Counter((step, repr(float(value))) for step, value in points)
        if stored != expected:
            step, value = min((stored - expected) or (expected - stored))
            what = "has a point that its record lacks" if stored - expected else "lacks a point"
            found.append(f"curve {name} {what}: {value} at step {step}")
    return found
