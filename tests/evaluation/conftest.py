from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ecgscale import encoders
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.data.store import Store, StoreWriter, open_store
from ecgscale.encoders.base import Encoder, EncoderParams
from ecgscale.encoders.base import encoders as registry
from support.stores import finish

FREQUENCIES = (0.02, 0.05, 0.11, 0.2)
"""Cycles per sample; a record holds each or not, and that is its labels."""


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(fs=50.0, seconds=2.0, minimum_seconds=1.0, band=(0.5, 20.0))


def write_store(folder: Path, recipe: Recipe, rows: list[dict[str, Any]], samples: np.ndarray):
    """Write a store of int16 samples (record, lead, time) with the columns that rows give."""
    folder.mkdir(parents=True)
    writer = StoreWriter(folder, recipe.leads, recipe.n_samples)
    for number, (row, signal) in enumerate(zip(rows, samples, strict=True)):
        full = {
            "record_id": f"r{number:04d}",
            "patient_id": f"{folder.name}:{number // 2:04d}",
            "source": folder.name,
            "age": 30.0 + number % 50,
            "sex": "FM"[number % 2],
            "fold": None,
            "split": None,
            "labels": [],
            "split_labels": [],
            "unit": "mV",
            "fs_original": 500.0,
            "seconds": recipe.seconds,
            "valid_samples": recipe.n_samples,
            "notes": [],
            "signal_digest": str(number),
            **dict.fromkeys(CLINICAL_FIELDS, np.nan),
            **row,
        }
        writer.add(full | {"likelihoods": [100.0] * len(full["labels"])}, signal)
    finish(writer, folder.name, recipe)
    return open_store(folder)


@pytest.fixture
def make_store(recipe: Recipe) -> Callable[..., Store]:
    """A store whose records hold sines of some of `FREQUENCIES`, as their labels say, and noise."""

    def make(folder: Path, records: int, seed: int = 0, **columns: list[Any]) -> Store:
        rng = np.random.default_rng(seed)
        present = rng.random((records, len(FREQUENCIES))) < 0.35
        time = np.arange(recipe.n_samples)
        sines = np.sin(2 * np.pi * np.multiply.outer(FREQUENCIES, time))
        clean = present.astype(float) @ sines
        noise = rng.normal(scale=1.5, size=(records, len(recipe.leads), recipe.n_samples))
        samples = (300 * (clean[:, None] + noise)).astype(np.int16)
        rows = [
            {
                "labels": [f"f{k}" for k in np.flatnonzero(row)],
                **{name: values[number] for name, values in columns.items()},
            }
            for number, row in enumerate(present)
        ]
        return write_store(folder, recipe, rows, samples)

    return make


class Filters(Encoder):
    """Mean magnitude of random filters' outputs, through batch normalisation and dropout.

    Two blocks: the filters, and what makes tokens of their outputs.
    """

    class Params(EncoderParams):
        width: int = 16

    reference = "made up"
    calls = 0

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.conv = torch.nn.Conv1d(params.in_channels, params.width, 25, bias=False)
        self.norm = torch.nn.BatchNorm1d(params.width)
        self.dropout = torch.nn.Dropout(0.5)

    @property
    def embed_dim(self) -> int:
        return self.params.width

    def hidden_states(self, x: Tensor, mask: Tensor | None = None, fill: Tensor | None = None):
        type(self).calls += 1
        filtered = self.conv(x)
        tokens = self.dropout(self.norm(filtered).abs())
        return [filtered.transpose(1, 2), tokens.transpose(1, 2)]


@pytest.fixture
def filters(monkeypatch: pytest.MonkeyPatch) -> type[Filters]:
    """The encoder `filters`, registered for one test, so that no other test meets it."""
    registry.names()
    monkeypatch.setitem(registry._entries, "filters", Filters)
    monkeypatch.setattr(Filters, "calls", 0)
    return Filters


@pytest.fixture
def save_encoder(filters: type[Filters], recipe: Recipe) -> Callable[..., Encoder]:
    """Write a directory with a random `filters` encoder."""

    def save(directory: Path, seed: int = 0, recipe: Recipe = recipe, **params: Any) -> Encoder:
        torch.manual_seed(seed)
        encoder = encoders.create("filters", **{"in_channels": 1, **params})
        settings = {**recipe.model_dump(mode="json"), "digest": recipe.digest}
        encoders.save(encoder, directory, settings, "# made up\n")
        return encoders.load(directory)

    return save
