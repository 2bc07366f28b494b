"""Pretraining objectives and the controls they are compared with."""

from ecgscale.objectives.base import Batch, LossOutput, Objective, create, objectives

__all__ = ["Batch", "LossOutput", "Objective", "create", "objectives"]
