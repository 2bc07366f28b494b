import copy
import importlib
import importlib.util
import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ecgscale import encoders, objectives
from ecgscale.data.augment import Augmenter
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.normalise import normalise
from ecgscale.data.recipe import Recipe
from ecgscale.errors import BadInputError
from ecgscale.objectives import Batch
from ecgscale.objectives.base import ObjectiveParams
from ecgscale.objectives.search_space import Choice
from ecgscale.training.monitors import effective_rank, embedding_sd, is_collapsed
from ecgscale.training.settings import TrainingConfig
from support.toy import Toy

REGISTRY = objectives.objectives
NAMES = REGISTRY.names()
TRAINED = [name for name, cls in REGISTRY.items() if cls.needs_training]
RECIPE = Recipe(leads=("I", "II"))
N_LABELS = 3


def toy_of(name):
    """Return the `TOY` of the objective's own tests; the default settings where they name none."""
    own = f"objectives.test_{REGISTRY.get(name).__module__.rpartition('.')[2]}"
    if importlib.util.find_spec(own) is None:
        return Toy()
    return Toy(**getattr(importlib.import_module(own), "TOY", {}))


def batch_of(records=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    risk = torch.rand(records, generator=generator)
    risk[::3] = math.nan
    targets = (torch.rand(records, N_LABELS, generator=generator) < 0.5).float()
    targets[0, 0] = math.nan
    return Batch(
        signal=torch.randn(records, 2, 600, generator=generator),
        risk=risk,
        completeness=torch.rand(records, generator=generator),
        targets=targets,
    )


def create(name, seed=0, in_channels=2):
    torch.manual_seed(seed)
    toy = toy_of(name)
    encoder = encoders.create(**toy.encoder, in_channels=in_channels)
    return encoder, objectives.create(name, encoder, n_labels=N_LABELS, **toy.params)


def augmenter(seed=0, n_leads=2, **changes):
    generator = torch.Generator().manual_seed(seed)
    return Augmenter(AugmentConfig(**changes), 100.0, n_leads, RECIPE, generator)


def parameters(encoder, objective):
    named = [*encoder.named_parameters(), *objective.named_parameters()]
    return [(key, parameter) for key, parameter in named if parameter.requires_grad]


@pytest.mark.parametrize("name", NAMES)
def test_metadata_is_complete(name):
    cls = REGISTRY.get(name)
    assert cls.reference.strip()
    assert cls.__doc__
    assert issubclass(cls.Params, ObjectiveParams)
    cls.Params()


@pytest.mark.parametrize("name", NAMES)
def test_unknown_parameters_are_refused(name):
    encoder, _ = create(name)
    with pytest.raises(BadInputError, match="not_a_parameter"):
        objectives.create(name, encoder, n_labels=N_LABELS, not_a_parameter=1)


@pytest.mark.parametrize("name", NAMES)
def test_search_space_names_settings_that_exist_and_holds_their_published_defaults(name):
    cls = REGISTRY.get(name)
    space = cls.search_space()
    assert bool(space) == cls.needs_training
    published = {f"params.{key}": value for key, value in cls.Params().model_dump().items()}
    published |= {f"training.{key}": v for key, v in TrainingConfig().model_dump().items()}
    for key, span in space.items():
        if isinstance(span, Choice):
            assert published[key] in span.options
        else:
            assert span.low <= published[key] <= span.high


@pytest.mark.parametrize("in_channels", [1, 2])
@pytest.mark.parametrize("name", TRAINED)
def test_forward_and_backward_on_a_small_batch(name, in_channels):
    encoder, objective = create(name, in_channels=in_channels)
    views = objective.views(batch_of(), augmenter(n_leads=in_channels))
    assert all(isinstance(view, torch.Tensor) for view in views.values())
    assert not any(view.requires_grad for view in views.values())
    output = objective.loss(encoder, views)
    assert output.loss.shape == ()
    assert output.loss.isfinite()
    assert all(part.shape == () and not part.requires_grad for part in output.parts.values())
    output.loss.backward()
    for key, parameter in parameters(encoder, objective):
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    stem = next(p for _, p in encoder.named_parameters())
    assert stem.grad.abs().sum() > 0
    objective.after_step(encoder, 0.5)


@pytest.mark.parametrize("name", TRAINED)
def test_no_step_waits_for_the_device(name):
    """Tensors without values: whatever asks for one (item, boolean index, host branch) raises."""
    encoder, objective = create(name)
    with FakeTensorMode(allow_non_fake_inputs=True):
        augment = augmenter()
        output = objective.loss(encoder, objective.views(batch_of(), augment))
        output.loss.backward()
        objective.after_step(encoder, 0.5)


def train(name, steps, seed=0):
    encoder, objective = create(name, seed)
    augment = augmenter(seed)
    optimizer = torch.optim.AdamW([p for _, p in parameters(encoder, objective)], lr=1e-3)
    losses = []
    for step in range(steps):
        output = objective.loss(encoder, objective.views(batch_of(seed=step), augment))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        objective.after_step(encoder, (step + 1) / steps)
        losses.append(float(output.loss.detach()))
    return encoder, objective, augment, optimizer, losses


@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_same_loss_curve_bit_for_bit(name):
    assert train(name, 4)[-1] == train(name, 4)[-1]
    assert train(name, 4)[-1] != train(name, 4, seed=1)[-1]


@pytest.mark.parametrize("name", NAMES)
def test_state_makes_a_round_trip(name):
    _, objective = create(name, seed=0)
    state = copy.deepcopy(objective.state_dict())
    _, other = create(name, seed=1)
    other.load_state_dict(state, strict=True)
    assert list(other.state_dict()) == list(state)
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    assert all(torch.equal(other.state_dict()[key], value) for key, value in tensors.items())


@pytest.mark.parametrize("name", TRAINED)
def test_state_is_all_that_an_exact_resume_needs(name):
    encoder, objective, augment, *_ = train(name, 2)
    resumed_encoder, resumed = create(name, seed=5)
    resumed_encoder.load_state_dict(encoder.state_dict())
    resumed.load_state_dict(objective.state_dict())
    resumed_augment = augmenter(seed=5)
    resumed_augment.generator.set_state(augment.generator.get_state())
    batch = batch_of(seed=9)
    expected = objective.loss(encoder, objective.views(batch, augment)).loss
    again = resumed.loss(resumed_encoder, resumed.views(batch, resumed_augment)).loss
    assert torch.equal(again, expected)


def test_the_random_control_has_nothing_to_train():
    _, objective = create("random")
    assert not objective.needs_training
    assert objective.state_dict() == {}


# Does it learn? Three rhythms under wander, noise and random onset


def toy_records(per_class, seed, wander=0.5):
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(3).repeat_interleave(per_class)
    records = len(label)
    time = torch.arange(1000) / 100.0

    def uniform(low, high):
        return low + (high - low) * torch.rand((records, 1), generator=generator)

    spacing = torch.tensor([0.62, 0.74, 0.88])[label].view(-1, 1) * uniform(0.97, 1.03)
    phase = (time + uniform(0, 1)) / spacing
    beat = torch.exp(-0.5 * (((phase % 1.0) - 0.5) * spacing / 0.02) ** 2)
    leads = []
    for _ in range(2):
        slow = torch.sin(2 * torch.pi * (uniform(0.2, 0.6) * time + uniform(0, 1)))
        noise = torch.randn(records, 1000, generator=generator)
        leads.append(uniform(0.6, 1.4) * beat + wander * slow + 0.1 * noise)
    return torch.stack(leads, dim=1), label


def knn_accuracy(encoder, train_set, test_set, neighbours=5):
    encoder.eval()
    with torch.no_grad():
        known, asked = (
            torch.nn.functional.normalize(encoder.embed(normalise(x, RECIPE)), dim=1)
            for x, _ in (train_set, test_set)
        )
    nearest = (asked @ known.T).topk(neighbours).indices
    votes = torch.nn.functional.one_hot(train_set[1][nearest], 3).sum(dim=1)
    return float((votes.argmax(dim=1) == test_set[1]).double().mean())


QUICK = ("simclr", "supervised")
"""Those that are trained in every run of the tests; the others take minutes together."""


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in TRAINED],
)
def test_200_steps_beat_the_random_encoder_on_a_toy_set_without_collapse(name):
    toy = toy_of(name)
    x, label = toy_records(100, seed=0, wander=toy.wander)
    test_set = toy_records(60, seed=1, wander=toy.wander)
    encoder, objective = create(name)
    untrained = knn_accuracy(encoder, (x, label), test_set)
    encoder.train()
    augment = augmenter(
        **{"crop_seconds": toy.crop, "mask_prob": 0.0, "lead_drop_prob": 0.0, **toy.augment}
    )
    optimizer = torch.optim.AdamW([p for _, p in parameters(encoder, objective)], lr=toy.lr)
    draw = torch.Generator().manual_seed(0)
    for step in range(200):
        if step in objective.refresh_steps(200):
            objective.refresh(encoder, augment.plain(x))
        rows = torch.randperm(len(x), generator=draw)[:32]
        targets = torch.nn.functional.one_hot(label[rows], N_LABELS).float()
        batch = Batch(
            signal=x[rows],
            risk=label[rows] / 2.0,
            completeness=torch.ones(len(rows)),
            targets=targets,
        )
        output = objective.loss(encoder, objective.views(batch, augment))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        objective.after_step(encoder, (step + 1) / 200)
    trained = knn_accuracy(encoder, (x, label), test_set)
    assert trained > untrained + toy.gain
    with torch.no_grad():
        embedded = encoder.embed(normalise(test_set[0], RECIPE))
    measured = {
        "embedding_sd": embedding_sd(embedded),
        "effective_rank": effective_rank(embedded),
    }
    assert not is_collapsed(measured), measured
