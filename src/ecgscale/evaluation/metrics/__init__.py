"""Metrics: what says how good the predictions of a task are; one file each."""

from ecgscale.evaluation.metrics.base import MainMetric, Metric, Outcome, main_metric, metrics

__all__ = ["MainMetric", "Metric", "Outcome", "main_metric", "metrics"]
