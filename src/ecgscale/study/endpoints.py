"""What a study measures: tasks under protocols, and in which direction their scores are better."""

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import MainMetric, main_metric
from ecgscale.study.file import Study
from ecgscale.tasks.base import USUAL_METRIC, tasks

USUAL: MainMetric = main_metric(USUAL_METRIC["multi-label"])
"""The metric of most tasks, for a table that has no rows to take one from."""


def endpoints(study: Study) -> tuple[Endpoint, ...]:
    """Return what a study measures: its tasks under its first protocol, then under the others."""
    settings = study.evaluation
    metrics = {task: metric_of(task) for task in settings.tasks}
    return tuple(
        Endpoint(settings.endpoint(task, protocol), task, protocol, metrics[task])
        for protocol in settings.protocols
        for task in settings.tasks
    )


def primary(study: Study) -> Endpoint:
    """Return the endpoint that decides: `report.primary_task` under the first protocol."""
    task, protocol = study.report.primary_task, study.evaluation.protocols[0]
    return Endpoint(task, task, protocol, metric_of(task))


def metric_of(task: str) -> MainMetric:
    """Return the main metric of a task; the usual one for a name that is not registered."""
    if task not in tasks.names():
        return USUAL
    metadata = tasks.get(task).metadata
    return main_metric(metadata.main_metric, metadata.unit or "")
