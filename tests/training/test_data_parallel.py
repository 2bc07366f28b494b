"""Two processes, each with half of every batch, against one with all of it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ecgscale import distributed, encoders, objectives
from ecgscale.data.augment import Augmenter
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.distributed import average_gradients, rank, world_size
from ecgscale.errors import BadInputError
from ecgscale.objectives import Batch
from ecgscale.objectives.clef import Clef, ClefParams
from ecgscale.training.checkpoint import CheckpointDirectory
from ecgscale.training.data import TrainingData
from ecgscale.training.loop import Monitor, TrainingDivergedError, train
from ecgscale.training.settings import TrainingConfig
from support.processes import in_two_processes

CPU = torch.device("cpu")
RECIPE = Recipe(seconds=6.0, leads=("I", "II"))
WITHOUT_DRAWS = AugmentConfig(
    crop_seconds=None,
    noise_prob=0,
    wander_prob=0,
    scale_range=(1, 1),
    mask_prob=0,
    lead_drop_prob=0,
)
DRAWN = AugmentConfig(crop_seconds=4.0)
RECORDS, BATCH = 16, 8
CLEF_WEIGHTINGS = ("paper", "public_code", "uniform", "uniform_public_code")
KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "simclr": ("simclr", {}),
    **{f"clef {w}": ("clef", {"weighting": w}) for w in CLEF_WEIGHTINGS},
    "moco": ("moco", {"queue_size": 12}),
    "byol": ("byol", {}),
    "cpc": ("cpc", {"steps": 2}),
}
CASES = {case: KNOWN[case] for case in KNOWN if KNOWN[case][0] in objectives.objectives.names()}


def corpus() -> TrainingData:
    generator = torch.Generator().manual_seed(0)
    risk = torch.rand(RECORDS, generator=generator)
    risk[::5] = torch.nan
    time = torch.arange(RECIPE.n_samples) / RECIPE.fs
    rate = 1 + torch.rand(RECORDS, 1, 1, generator=generator)
    noise = torch.randn(RECORDS, 2, RECIPE.n_samples, generator=generator)
    return TrainingData(
        signal=(800 * torch.sin(6.28 * rate * time) ** 9 + 100 * noise).to(torch.int16),
        risk=risk,
        completeness=torch.rand(RECORDS, generator=generator),
        targets=None,
        device=CPU,
    )


def share(views: dict[str, Tensor]) -> dict[str, Tensor]:
    """This process's rows."""
    size = BATCH // world_size()
    return {name: x[rank() * size :][:size] for name, x in views.items()}


def two_steps(case: str) -> dict[str, Tensor]:
    """Losses, gradients and end state of two plain steps on given views."""
    name, params = CASES[case]
    torch.manual_seed(1)
    encoder = encoders.create("net1d", size="tiny", in_channels=2)
    objective = objectives.create(name, encoder, **params)
    augment = Augmenter(AugmentConfig(crop_seconds=5.12), 100.0, 2, RECIPE, torch.Generator())
    data = corpus()
    batch = Batch(data.signal[:BATCH] / 1000, data.risk[:BATCH], data.completeness[:BATCH])
    trained = [*encoder.named_parameters(), *objective.named_parameters()]
    named = [(key, value) for key, value in trained if value.requires_grad]
    found = {}
    for step in range(2):
        augment.generator.manual_seed(step)
        output = objective.loss(encoder, share(objective.views(batch, augment)))
        for _, parameter in named:
            parameter.grad = None
        torch.autograd.backward(output.loss)
        average_gradients([parameter for _, parameter in named])
        found[f"loss {step}"] = output.loss.detach()
        for key, parameter in named:
            assert parameter.grad is not None
            found[f"gradient {step} {key}"] = parameter.grad.clone()
            parameter.data.sub_(0.1 * parameter.grad)
        objective.after_step(encoder, 0.5)
    return found | {f"end {key}": value.clone() for key, value in objective.state_dict().items()}


class SeedKeepingClef(Clef):
    """Clef that keeps the seeds its views were drawn with."""

    seeds: list[int]

    def views(self, batch: Batch, augment: Augmenter) -> dict[str, Tensor]:
        self.seeds.append(augment.generator.initial_seed())
        return super().views(batch, augment)


def whole_training(
    augment: AugmentConfig = WITHOUT_DRAWS,
    batch_size: int = BATCH,
    lr: float = 1e-3,
    **options: Any,
) -> dict[str, Any]:
    """Train net1d-tiny on two leads; return all that comes of it."""
    config = TrainingConfig(
        steps=6, batch_size=batch_size, log_every=2, lr=lr, checkpoint_seconds=0
    )
    torch.manual_seed(2)
    encoder = encoders.create("net1d", size="tiny", in_channels=2)
    objective = SeedKeepingClef(encoder, ClefParams())
    objective.seeds = []
    outcome = train(encoder, objective, corpus(), config, augment, RECIPE, seed=3, **options)
    weights = encoder.state_dict()
    return {"weights": weights, "seeds": objective.seeds, "outcome": vars(outcome)}


def message(error: type[Exception], **settings: Any) -> str:
    with pytest.raises(error) as caught:
        whole_training(**settings)
    return str(caught.value)


def everything(folder: Path) -> dict[str, Any]:
    """Do all that the tests look at as one of two processes."""
    checkpoints = CheckpointDirectory(folder / "checkpoints")
    measured: list[int] = []

    def measure(step: int, encoder: encoders.Encoder) -> dict[str, float]:
        measured.append(step)
        return {"measured": float(step)}

    options = {"checkpoints": checkpoints, "monitors": [Monitor(3, measure)]}
    found: dict[str, Any] = {"cases": {case: two_steps(case) for case in CASES}}
    found["plain"] = whole_training()
    found["drawn"] = whole_training(DRAWN, **options)
    distributed.barrier()
    if rank() == 0:
        next(checkpoints.path.glob("step-000000006*")).unlink()
    distributed.barrier()
    found["resumed"] = whole_training(DRAWN, **options)
    found["measured"] = measured
    found["refused"] = message(BadInputError, batch_size=BATCH - 1)
    found["diverged"] = message(TrainingDivergedError, lr=1e30)
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("pair")
    return in_two_processes(folder, everything, folder)


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_of_one_process(
    pair: list[dict[str, Any]], case: str
) -> None:
    expected = two_steps(case)
    for name in expected:
        both = [process["cases"][case][name] for process in pair]
        value = torch.stack(both).mean(dim=0) if name.startswith("loss") else both[0]
        assert torch.equal(both[0], both[1]) or name.startswith("loss"), name
        scale = expected[name].double().abs().max().clamp_min(1e-6)
        assert (value - expected[name]).double().abs().max() <= 2e-5 * scale, name


def test_a_training_without_draws_is_that_of_one_process(pair: list[dict[str, Any]]) -> None:
    alone = whole_training()
    for process in pair:
        outcome = process["plain"]["outcome"]
        assert outcome["samples_seen"] == alone["outcome"]["samples_seen"]
        assert outcome["flops"] >= alone["outcome"]["flops"]
        for name, points in alone["outcome"]["curves"].items():
            assert [step for step, _ in points] == [2, 4, 6]
            found = [value for _, value in outcome["curves"][name]]
            assert found == pytest.approx([value for _, value in points], rel=1e-4, abs=1e-6)
        for name, value in alone["weights"].items():
            assert torch.allclose(process["plain"]["weights"][name], value, atol=1e-4)


def test_the_first_process_has_the_draws_of_a_single_one_the_other_its_own(
    pair: list[dict[str, Any]],
) -> None:
    first, second = (process["drawn"]["seeds"] for process in pair)
    assert first == whole_training(DRAWN)["seeds"]
    assert not set(first) & set(second)


def test_processes_end_with_one_set_of_weights_also_after_a_resumption(
    pair: list[dict[str, Any]],
) -> None:
    expected = pair[0]["drawn"]["weights"]
    for process in pair:
        assert process["resumed"]["outcome"]["resumed_at"] == 4
        for run in ("drawn", "resumed"):
            assert all(torch.equal(process[run]["weights"][key], expected[key]) for key in expected)
    curves = [process["resumed"]["outcome"]["curves"] for process in pair]
    assert curves[0] == pair[0]["drawn"]["outcome"]["curves"]
    assert curves[0]["train/loss"] == curves[1]["train/loss"]


def test_only_the_first_process_measures(pair: list[dict[str, Any]]) -> None:
    assert pair[0]["measured"] == [3, 6, 6]
    assert pair[1]["measured"] == []


def test_what_cannot_go_on_ends_every_process(pair: list[dict[str, Any]]) -> None:
    for process in pair:
        assert "batch_size is 7, which 2 processes cannot share" in process["refused"]
        assert "lower training.lr" in process["diverged"]
