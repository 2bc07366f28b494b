"""The tasks of a study: those of the package, and those that its sources declare."""

from dataclasses import dataclass

from ecgscale.errors import BadInputError
from ecgscale.study.file import Study
from ecgscale.tasks.base import Task, tasks
from ecgscale.tasks.declared import DeclaredTask, declared_tasks


@dataclass(frozen=True)
class TaskBook:
    """Every task that a study can name.

    Attributes
    ----------
    own
        Name to task, of those that the study's sources declare.
    data
        Data set of a task to the study's source that holds it: `evaluation.data`, and every source
        with tasks of its own.
    broken
        Sentences about sources whose tasks cannot be read.
    absent
        Sentences about sources whose folder is not there.
    """

    own: dict[str, type[DeclaredTask]]
    data: dict[str, str]
    broken: tuple[str, ...]
    absent: tuple[str, ...]

    def get(self, name: str) -> type[Task]:
        """Return a task.

        Raises
        ------
        BadInputError
            If there is none of this name; the message says too which sources could not be asked.
        """
        if name in self.own:
            return self.own[name]
        try:
            return tasks.get(name)
        except BadInputError as error:
            declared = "".join(f", {own}" for own in self.own)
            unasked = "".join(f"; {sentence}" for sentence in (*self.broken, *self.absent))
            raise BadInputError(f"{error}{declared}{unasked}") from error

    def check(self) -> None:
        """Refuse a study with a mistake in a declaration.

        Raises
        ------
        BadInputError
            Naming the file and the key.
        """
        for sentence in self.broken:
            raise BadInputError(sentence)


def task_book(study: Study) -> TaskBook:
    """Return every task that a study can name; a mistake in one source leaves the others of use."""
    own: dict[str, type[DeclaredTask]] = {}
    data = dict(study.evaluation.data)
    broken: list[str] = []
    absent: list[str] = []
    for name, config in study.sources.items():
        try:
            found = declared_tasks(name, config)
            for task, made in found.items():
                _refuse_clash(task, made, own)
        except BadInputError as error:
            (broken if config.root.is_dir() else absent).append(f"source {name}: {error}")
            continue
        if found and data.setdefault(name, name) != name:
            broken.append(
                f"evaluation.data.{name} is {data[name]}, but the source {name} has own tasks: "
                "rename the source"
            )
            continue
        own |= found
    return TaskBook(own, data, tuple(broken), tuple(absent))


def _refuse_clash(task: str, made: type[DeclaredTask], own: dict[str, type[DeclaredTask]]) -> None:
    if task in tasks.names():
        raise BadInputError(
            f"{made.where}: a task of this name comes with ecgscale; choose another"
        )
    if task in own:
        raise BadInputError(f"{made.where}: {own[task].where} has the same name; choose another")
