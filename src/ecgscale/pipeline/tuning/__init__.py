"""Optuna, and nothing else of the project imports it: hyper-parameters chosen on validation data.

A trial pretrains the objective on the smallest subset of the search and reads the linear probe on a
task's validation split several times on the way; the pruner may end it there. The test split is
never read.
"""
