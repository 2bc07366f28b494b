"""Baselines: what an encoder must beat, predicted without one; one file each."""

from ecgscale.evaluation.baselines.base import Baseline, baselines

__all__ = ["Baseline", "baselines"]
