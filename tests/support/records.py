import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.api.types import is_scalar

from ecgscale.data.recipe import Recipe
from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.data.store import StoreWriter
from ecgscale.tasks.base import TaskMetadata
from support.stores import finish


def as_records(rows: list[dict]) -> pd.DataFrame:
    """A store's table from what a test cares about; the rest is as for an unknown value."""
    defaults = {
        "source": "made-up",
        "age": np.nan,
        "sex": None,
        "fold": None,
        "split": None,
        "labels": [],
        "split_labels": [],
        "measurements": [],
        "measured": [],
        "columns": [],
        "cells": [],
        "unit": "mV",
        "amplitude": 1.0,
        "gain": "1000/mV",
        "device": "",
        "fs_original": 500.0,
        "seconds": 10.0,
        "valid_samples": 1000,
        "notes": [],
        "signal_digest": "",
    }
    full = [
        {"record_id": f"r{number}", "patient_id": f"made-up:{number}", **defaults, **row}
        for number, row in enumerate(rows)
    ]
    records = pd.DataFrame(full)
    records["likelihoods"] = [[100.0] * len(labels) for labels in records["labels"]]
    records["fold"] = records["fold"].astype("Int64")
    return records.assign(**dict.fromkeys(CLINICAL_FIELDS, np.nan))


@pytest.fixture(scope="session")
def make_records() -> Callable[[list[dict]], pd.DataFrame]:
    return as_records


@pytest.fixture(scope="session")
def random_records() -> Callable[..., pd.DataFrame]:
    """Records any task can use: folds, splits, and labels among the task's own and foreign ones."""

    def build(metadata: TaskMetadata, seed: int = 0, n: int = 300) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        codes = [code for label in metadata.labels for code in label.codes]
        regression, single = metadata.kind == "regression", metadata.kind == "multi-class"
        several = [*codes, "UNKNOWN"]
        fold_of = rng.integers(1, 11, n)
        rows = []
        for _ in range(n):
            patient = int(rng.integers(0, n // 2))
            fold = int(fold_of[patient])
            split = "train" if fold <= 8 else "validation" if fold == 9 else "test"
            rows.append(
                {
                    "patient_id": f"made-up:{patient}",
                    "age": float(rng.integers(18, 90)) if rng.random() < 0.9 else np.nan,
                    "sex": rng.choice(["F", "M"]) if rng.random() < 0.9 else None,
                    "fold": fold,
                    "split": split,
                    "labels": list(
                        rng.choice(several, 1)
                        if single
                        else rng.choice(
                            several, rng.integers(0, min(4, len(several))), replace=False
                        )
                    ),
                    "measurements": codes if regression and rng.random() < 0.9 else [],
                    "split_labels": list(rng.choice(metadata.label_names, 2))[: len(codes)],
                }
            )
        for row in rows:
            row["measured"] = rng.uniform(20, 200, len(row["measurements"])).tolist()
        return as_records(rows)

    return build


@pytest.fixture(scope="session")
def write_store() -> Callable[[Path, str, pd.DataFrame], None]:
    """A real store of silent records."""

    def write(root: Path, source: str, records: pd.DataFrame) -> None:
        recipe = Recipe(seconds=0.1)
        folder = root / source
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        writer = StoreWriter(folder, recipe.leads, recipe.n_samples)
        silence = np.zeros((len(recipe.leads), recipe.n_samples), dtype=np.int16)
        for row in records.assign(source=source).to_dict("records"):
            absent = {key for key, value in row.items() if is_scalar(value) and pd.isna(value)}
            writer.add({**row, **dict.fromkeys(absent)}, silence)
        finish(writer, source, recipe)

    return write
