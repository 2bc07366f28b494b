"""Pretraining: the loop, its checkpoints, schedule and monitors."""
