"""Downstream tasks and the benchmark suites made of them."""

from ecgscale.tasks.base import Targets, Task, TaskMetadata, tasks
from ecgscale.tasks.suites import suite, suites

__all__ = ["Targets", "Task", "TaskMetadata", "suite", "suites", "tasks"]
