"""A small corpus in memory, and a small training on it."""

from collections.abc import Callable

import pytest
import torch

from ecgscale import encoders, objectives
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.encoders import Encoder
from ecgscale.training.data import TrainingData
from ecgscale.training.loop import TrainingOutcome, train
from ecgscale.training.settings import TrainingConfig

CPU = torch.device("cpu")
RECIPE = Recipe(seconds=2.0, minimum_seconds=1.0)
AUGMENT = AugmentConfig(crop_seconds=1.0)


@pytest.fixture(scope="session")
def corpus() -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    n, labels = 20, 3
    time = torch.arange(RECIPE.n_samples) / RECIPE.fs
    rate = 1 + torch.rand(n, 1, 1, generator=generator)
    gain = torch.randn(n, 12, 1, generator=generator)
    noise = torch.randn(n, 12, RECIPE.n_samples, generator=generator)
    signal = gain * torch.sin(6.28 * rate * time) ** 9 + 0.05 * noise
    targets = torch.rand(n, labels, generator=generator).round()
    targets[::4, 0] = torch.nan
    return TrainingData(
        signal=(1000 * signal).to(torch.int16),
        risk=torch.rand(n, generator=generator),
        completeness=torch.rand(n, generator=generator),
        targets=targets,
        device=CPU,
    )


@pytest.fixture
def small_training(corpus: TrainingData) -> Callable[..., tuple[Encoder, TrainingOutcome]]:
    """Train net1d-tiny on the corpus; the settings are those of `TrainingConfig`."""

    def run(
        objective: str = "simclr",
        seed: int = 0,
        leads: int = 1,
        data: TrainingData = corpus,
        options: dict[str, object] | None = None,
        **settings: object,
    ) -> tuple[Encoder, TrainingOutcome]:
        chosen = {"steps": 6, "batch_size": 8, "log_every": 2, "checkpoint_seconds": 0, **settings}
        torch.manual_seed(seed)
        encoder = encoders.create("net1d", size="tiny", in_channels=leads)
        criterion = objectives.create(objective, encoder, n_labels=data.n_labels)
        outcome = train(
            encoder,
            criterion,
            data,
            TrainingConfig(**chosen),
            AUGMENT,
            RECIPE,
            seed=seed,
            **(options or {}),  # type: ignore[arg-type]
        )
        return encoder, outcome

    return run


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return RECIPE


@pytest.fixture(scope="session")
def augment() -> AugmentConfig:
    return AUGMENT
