"""The one progress bar: on stderr, so that what a command prints can be piped."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Bars(Progress):
    """Bars with a title, what is done of what there is, a note, and the time taken and left.

    Parameters
    ----------
    shown
        Whether to print them; of several processes that share a terminal only one does.
    """

    def __init__(self, shown: bool = True) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not shown,
        )

    def line(self, text: str) -> None:
        """Print a line where there is no terminal for bars: a log then says how far it is."""
        if not self.console.is_terminal and not self.disable:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def more(self, bar: TaskID, count: int) -> None:
        """Let a bar have more to do than was known when it was added."""
        self.update(bar, total=(self.tasks[self.task_ids.index(bar)].total or 0) + count)

    def bar(self, title: str, total: int, done: int = 0) -> TaskID:
        """Add a bar; `advance` and `update(note=...)` move it."""
        return self.add_task(title, total=total, completed=done, note="")
