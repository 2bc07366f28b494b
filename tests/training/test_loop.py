import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecgscale import encoders, objectives
from ecgscale.data.augment import Augmenter
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.encoders import Encoder
from ecgscale.errors import BadInputError
from ecgscale.training.checkpoint import CheckpointDirectory
from ecgscale.training.data import BatchSampler, TrainingData
from ecgscale.training.loop import Monitor, TrainingDivergedError, TrainingOutcome
from ecgscale.training.schedule import derived_seed, learning_rate
from ecgscale.training.settings import TrainingConfig

Train = Callable[..., tuple[Encoder, TrainingOutcome]]


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def same_weights(a: Encoder, b: Encoder) -> bool:
    theirs = b.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in a.state_dict().items())


def killer(at: int) -> Monitor:
    def measure(step: int, encoder: Encoder) -> dict[str, float]:
        if step == at:
            raise Killed
        return {}

    return Monitor(1, measure)


@pytest.mark.parametrize("objective", ["simclr", "clef", "supervised"])
@pytest.mark.parametrize("leads", [1, 12])
def test_same_seed_same_bits(small_training: Train, objective: str, leads: int) -> None:
    first, one = small_training(objective, leads=leads)
    again, two = small_training(objective, leads=leads)
    assert one.curves == two.curves
    assert same_weights(first, again)
    assert math.isfinite(one.loss)


def test_another_seed_differs(small_training: Train) -> None:
    assert (
        small_training(seed=0)[1].curves["train/loss"]
        != small_training(seed=1)[1].curves["train/loss"]
    )


def test_follows_a_plain_loop(
    small_training: Train, corpus: TrainingData, recipe: Recipe, augment: AugmentConfig
) -> None:
    config = TrainingConfig(steps=6, batch_size=8, clip_norm=0.5)
    torch.manual_seed(3)
    encoder = encoders.create("net1d", size="tiny", in_channels=1)
    objective = objectives.create("simclr", encoder)
    parameters = [*encoder.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(parameters, weight_decay=config.weight_decay)
    sampler = BatchSampler(len(corpus), 8, derived_seed("batches", 3))
    losses = []
    for step in range(6):
        generator = torch.Generator().manual_seed(derived_seed("augment", 3, step))
        augmenter = Augmenter(augment, recipe.fs, 1, recipe, generator)
        views = objective.views(corpus.batch(sampler.batch(step)), augmenter)
        loss = objective.loss(encoder, views).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.param_groups[0]["lr"] = learning_rate(step, 6, config)
        optimizer.step()
        losses.append(loss.item())
    trained, outcome = small_training(seed=3, clip_norm=0.5)
    pairs = [(a + b) / 2 for a, b in zip(losses[::2], losses[1::2], strict=True)]
    assert [value for _, value in outcome.curves["train/loss"]] == pytest.approx(pairs, rel=1e-5)
    for name, value in trained.state_dict().items():
        assert torch.allclose(value, encoder.state_dict()[name], atol=1e-5)


@pytest.mark.parametrize("kills", [[1], [2], [5], [6], [3, 4, 5]])
def test_killed_and_continued_gives_the_same_bits(
    small_training: Train, tmp_path: Path, kills: list[int]
) -> None:
    whole, expected = small_training("clef")
    checkpoints = CheckpointDirectory(tmp_path)
    for step in kills:
        options = {"checkpoints": checkpoints, "monitors": [killer(step)]}
        with pytest.raises(Killed):
            small_training("clef", options=options)
    resumed, outcome = small_training("clef", options={"checkpoints": checkpoints})
    assert outcome.resumed_at == (max(kills) - 1) // 2 * 2
    assert outcome.curves == expected.curves
    assert same_weights(whole, resumed)


def test_a_finished_checkpoint_needs_no_more_steps(small_training: Train, tmp_path: Path) -> None:
    options = {"checkpoints": CheckpointDirectory(tmp_path)}
    whole, expected = small_training(options=options)
    resumed, outcome = small_training(options=options)
    assert outcome.resumed_at == 6
    assert outcome.curves == expected.curves
    assert same_weights(whole, resumed)


def test_damaged_checkpoint_costs_time_but_no_bits(small_training: Train, tmp_path: Path) -> None:
    whole, _ = small_training()
    checkpoints = CheckpointDirectory(tmp_path)
    with pytest.raises(Killed):
        small_training(options={"checkpoints": checkpoints, "monitors": [killer(5)]})
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="damaged"):
        resumed, outcome = small_training(options={"checkpoints": checkpoints})
    assert outcome.resumed_at == 2
    assert same_weights(whole, resumed)


def test_nan_is_a_clear_failure_and_is_not_saved(
    small_training: Train, corpus: TrainingData, tmp_path: Path
) -> None:
    targets = corpus.targets.clone()  # type: ignore[union-attr]
    row = BatchSampler(len(corpus), 8, derived_seed("batches", 0)).batch(2)[0]
    targets[row] = torch.inf
    poisoned = dataclasses.replace(corpus, targets=targets)
    seen = [BatchSampler(len(corpus), 8, derived_seed("batches", 0)).batch(t) for t in range(6)]
    step = next(t for t, rows in enumerate(seen) if row in rows) + 1
    options = {"checkpoints": CheckpointDirectory(tmp_path)}
    with pytest.raises(
        TrainingDivergedError, match=rf"the loss is -?(inf|nan) at step {step} of 6"
    ):
        small_training("supervised", data=poisoned, options=options)
    state = CheckpointDirectory(tmp_path).load(torch.device("cpu"))
    assert state is None or all(value.isfinite().all() for value in state["encoder"].values())


def test_exploding_weights_are_a_clear_failure(small_training: Train) -> None:
    with pytest.raises(TrainingDivergedError, match=r"at step \d of 6.*lower training.lr"):
        small_training(lr=1e30, warmup_fraction=0)


def test_measurements_come_when_due(small_training: Train) -> None:
    def measure(step: int, encoder: Encoder) -> dict[str, float]:
        return {"step": float(step)}

    _, plain = small_training()
    for at_start, expected in [(False, [4.0, 6.0]), (True, [0.0, 4.0, 6.0])]:
        _, outcome = small_training(options={"monitors": [Monitor(4, measure, at_start)]})
        assert [value for _, value in outcome.curves["step"]] == expected
        assert outcome.curves["train/loss"] == plain.curves["train/loss"]


def test_report_gets_every_point_once_in_order(
    small_training: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecgscale.training.loop.REPORT_SECONDS", 0.0)
    received: dict[str, list[tuple[int, float]]] = {}

    def report(points: dict[str, list[tuple[int, float]]]) -> None:
        for name, new in points.items():
            received.setdefault(name, []).extend(new)

    _, outcome = small_training(options={"report": report})
    assert received == outcome.curves
    assert {"train/loss", "train/lr", "train/grad_norm"} <= set(received)


def test_accounts_of_the_work(small_training: Train, corpus: TrainingData) -> None:
    _, outcome = small_training()
    assert outcome.steps == 6
    assert outcome.samples_seen == 48
    assert outcome.epochs == 48 / len(corpus)
    assert outcome.pairs_per_second == pytest.approx(48 / outcome.seconds)
    assert outcome.loss == outcome.curves["train/loss"][-1][1]
    assert [step for step, _ in outcome.curves["train/loss"]] == [2, 4, 6]


def test_flops_are_three_forward_passes_of_every_step(small_training: Train) -> None:
    """Convolutions and matrix products of net1d-tiny counted layer by layer."""
    encoder, outcome = small_training()
    macs = []

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        weights = module.weight.numel()  # type: ignore[union-attr,operator]
        macs.append(weights * (out.shape[-1] if out.dim() == 3 else 1) * out.shape[0])

    for module in encoder.modules():
        if isinstance(module, (torch.nn.Conv1d, torch.nn.Linear)):
            module.register_forward_hook(count)
    views = 2 * 8
    encoder(torch.zeros(views, 1, 100))
    projector = (64 * 64 + 64 * 128) * views
    cosines = views * views * 128
    assert outcome.flops == 6 * 3 * 2 * (sum(macs) + projector + cosines)


def test_bf16_trains(small_training: Train) -> None:
    _, full = small_training()
    _, half = small_training(precision="bf16")
    assert half.curves["train/loss"] != full.curves["train/loss"]
    assert half.loss == pytest.approx(full.loss, rel=0.1)


def test_loss_falls(small_training: Train) -> None:
    _, outcome = small_training("simclr", steps=60, log_every=20, lr=3e-3)
    losses = [value for _, value in outcome.curves["train/loss"]]
    assert losses[-1] < 0.9 * losses[0]


def test_a_cuda_graph_needs_a_cuda_device(small_training: Train) -> None:
    with pytest.raises(BadInputError, match=r"training\.cuda_graph is true, but the device"):
        small_training(cuda_graph=True)
