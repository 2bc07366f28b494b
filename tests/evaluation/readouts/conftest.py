from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from ecgscale.encoders.base import Encoder, EncoderParams
from ecgscale.evaluation.readouts import Problem, readouts
from ecgscale.tasks.base import USUAL_METRIC
from ecgscale.tasks.targets import TaskTable

KINDS = ("multi-label", "multi-class", "binary", "regression")
FREQUENCIES = (0.03, 0.1, 0.22)
QUICK = {"attention": {"epochs": 3, "batch_size": 16, "heads": 2}}
QUICK["finetune"] = {"epochs": 3, "batch_size": 16}


class TwoBlocks(Encoder):
    """Two convolutions with batch norm and dropout: a token in 8 samples."""

    def __init__(self) -> None:
        super().__init__(EncoderParams(in_channels=1))
        self.stem = nn.Conv1d(1, 8, 16, 4)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv1d(8, 8, 3, stride, padding=1), nn.BatchNorm1d(8), nn.ReLU())
            for stride in (1, 2)
        )
        self.dropout = nn.Dropout(0.1)

    @property
    def embed_dim(self) -> int:
        return 8

    def hidden_states(self, x: Tensor, mask: Tensor | None = None, fill: Tensor | None = None):
        x = self.stem(x).abs()
        states = []
        for block in self.blocks:
            x = self.dropout(block(x))
            states.append(x.transpose(1, 2))
        return states


def made_up_targets(kind: str, amplitude: np.ndarray) -> np.ndarray:
    """Targets that follow the amplitudes (example, frequency) of three sines."""
    if kind == "regression":
        return 120 + 20 * amplitude[:, :1] - 10 * amplitude[:, 1:2]
    if kind == "multi-class":
        return np.eye(3)[amplitude.argmax(axis=1)]
    present = amplitude > np.quantile(amplitude, [0.5, 0.6, 0.8], axis=0).diagonal()
    return present[:, :1] if kind == "binary" else present


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    """A task on sines in noise, two records a patient, with an untrained encoder of two blocks."""

    def make(
        kind: str, records: int = 120, seed: int = 0, readout: str = "linear", **settings: Any
    ) -> Problem:
        rng = np.random.default_rng(seed)
        amplitude = rng.exponential(size=(records, 3))
        sines = np.sin(2 * np.pi * np.multiply.outer(FREQUENCIES, np.arange(80)))
        signal = amplitude @ sines + 0.3 * rng.normal(size=(records, 80))
        signals = torch.from_numpy(signal[:, None].astype(np.float32))
        split = np.array(["train", "train", "validation", "test"])[np.arange(records) // 2 % 4]
        frame = pd.DataFrame(
            {
                "row": np.arange(records),
                "patient_id": [f"p{number // 2:04d}" for number in range(records)],
                "split": split,
            }
        )
        y = made_up_targets(kind, amplitude).astype(np.float32)
        labels = tuple(f"l{column}" for column in range(y.shape[1]))
        about = (USUAL_METRIC[kind], "mmHg" if kind == "regression" else "", 10)
        table = TaskTable("made-up", kind, *about, "source", "0" * 64, labels, frame, y, "0" * 64)
        torch.manual_seed(seed)
        encoder = TwoBlocks().eval()
        with torch.no_grad():
            embeddings = encoder.embed(signals).numpy()

        def copied() -> Encoder:
            twin = TwoBlocks().eval()
            twin.load_state_dict(encoder.state_dict())
            return twin

        return Problem(
            table=table,
            train=table.where("train"),
            minimum_positives=3,
            settings=readouts.get(readout).Settings(**QUICK.get(readout, {}) | settings),
            seed=0,
            batch_size=256,
            device="cpu",
            embeddings=lambda: embeddings,
            signals=lambda positions: signals[torch.from_numpy(positions)],
            encoder=copied,
        )

    return make


@pytest.fixture
def with_targets() -> Callable[[Problem, np.ndarray], Problem]:
    """The same problem with other targets."""
    return lambda problem, y: replace(problem, table=replace(problem.table, y=y))
