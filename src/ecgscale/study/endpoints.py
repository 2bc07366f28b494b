"""What a study measures: tasks under protocols, and in which direction their scores are better."""

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import MainMetric, main_metric
from ecgscale.study.file import Study
from ecgscale.study.tasks import TaskBook, task_book
from ecgscale.tasks.base import USUAL_METRIC, tasks

USUAL: MainMetric = main_metric(USUAL_METRIC["multi-label"])
"""The metric of most tasks, for a table that has no rows to take one from."""


def endpoints(study: Study) -> tuple[Endpoint, ...]:
    """Return what a study measures: its tasks under its first protocol, then under the others."""
    settings, book = study.evaluation, task_book(study)
    about = {task: _about(task, book) for task in settings.tasks}
    return tuple(
        Endpoint(settings.endpoint(task, protocol), task, protocol, *about[task])
        for protocol in settings.protocols
        for task in settings.tasks
    )


def primary(study: Study) -> Endpoint:
    """Return the endpoint that decides: `report.primary_task` under the first protocol."""
    task, protocol = study.report.primary_task, study.evaluation.protocols[0]
    return Endpoint(task, task, protocol, *_about(task, task_book(study)))


def _about(task: str, book: TaskBook) -> tuple[MainMetric, str]:
    """Return the main metric and the title of a task; the usual one for an unknown name.

    Raises
    ------
    BadInputError
        If the task is unknown and a source could not be asked for its tasks.
    """
    asked = not (book.broken or book.absent)
    if asked and task not in book.own and task not in tasks.names():
        return USUAL, task
    metadata = book.get(task).metadata
    return main_metric(metadata.main_metric, metadata.unit or ""), metadata.title
