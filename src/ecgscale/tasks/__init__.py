"""Downstream tasks and the benchmark suites made of them."""

from ecgscale.tasks.base import Targets, Task, TaskMetadata, tasks
from ecgscale.tasks.suites import SUITES, Suite, suite

__all__ = ["SUITES", "Suite", "Targets", "Task", "TaskMetadata", "suite", "tasks"]
