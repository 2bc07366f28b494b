import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale import encoders, objectives
from ecgscale.data.augment import Augmenter
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.distributed import rank, world_size
from ecgscale.errors import BadInputError
from ecgscale.objectives import Batch
from ecgscale.objectives.moco import info_nce, record_key
from ecgscale.objectives.target import unit_rows
from support.processes import in_two_processes

RECIPE = Recipe(leads=("I", "II"))

TOY = {
    "params": {"queue_size": 256, "momentum": 0.99, "temperature": 0.1, "mlp": False},
    "lr": 5e-3,
}


def create(seed=0, **params):
    torch.manual_seed(seed)
    encoder = encoders.create("net1d", size="tiny", in_channels=2)
    return encoder, objectives.create("moco", encoder, **{"queue_size": 16} | params)


def views_of(records=4, seed=0, first_record=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "first": torch.randn(records, 2, 200, generator=generator),
        "second": torch.randn(records, 2, 200, generator=generator),
        "record": torch.arange(first_record, first_record + records),
    }


def augmenter(seed=0):
    return Augmenter(AugmentConfig(), 100.0, 2, RECIPE, torch.Generator().manual_seed(seed))


def vectors(rows, dim=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return unit_rows(torch.randn(rows, dim, generator=generator, dtype=torch.float64))


# The loss


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def info_nce_reference(query, key, queue, temperature, excluded):
    losses, hits = [], []
    for i in range(len(query)):
        positive = dot(query[i], key[i])
        kept = [dot(query[i], queue[j]) for j in range(len(queue)) if not excluded[i][j]]
        total = math.exp(positive / temperature)
        for negative in kept:
            total += math.exp(negative / temperature)
        losses.append(-math.log(math.exp(positive / temperature) / total))
        hits.append(all(positive > negative for negative in kept))
    return sum(losses) / len(losses), sum(hits) / len(hits)


@settings(max_examples=40, deadline=None)
@given(
    records=st.integers(1, 5),
    keys=st.integers(1, 9),
    temperature=st.sampled_from([0.07, 0.2, 1.0]),
    share=st.sampled_from([0.0, 0.4, 1.0]),
    seed=st.integers(0, 99),
)
def test_info_nce_matches_a_double_loop(records, keys, temperature, share, seed):
    query, key, queue = vectors(records, seed=seed), vectors(records, seed=-1), vectors(keys)
    excluded = torch.rand(records, keys, generator=torch.Generator().manual_seed(seed)) < share
    loss, parts = info_nce(query, key, queue, temperature, excluded)
    expected, accuracy = info_nce_reference(query, key, queue, temperature, excluded.tolist())
    assert float(loss) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert float(parts["accuracy"]) == pytest.approx(accuracy)
    if not share:
        assert torch.equal(info_nce(query, key, queue, temperature)[0], loss)


def test_chance_level_is_the_log_of_the_number_of_candidates():
    same = torch.ones(4, 1, dtype=torch.float64)
    loss, parts = info_nce(same, same, same.new_ones(65_535, 1), 0.2)
    assert float(loss) == pytest.approx(16 * math.log(2))
    assert parts["accuracy"] == 0


def test_the_gradient_is_that_of_the_formula_and_finite_where_no_negative_is_left():
    key, queue = vectors(3, seed=1), vectors(6, seed=2)
    excluded = torch.zeros(3, 6, dtype=torch.bool)
    excluded[0, 1:3] = True

    def loss(query, excluded=excluded):
        return info_nce(unit_rows(query), key, queue, 0.5, excluded)[0]

    query = vectors(3).requires_grad_()
    assert torch.autograd.gradcheck(loss, query)
    alone = loss(query, torch.ones(3, 6, dtype=torch.bool))
    alone.backward()
    assert float(alone.detach()) == 0
    assert torch.equal(query.grad, torch.zeros_like(query))


def test_cosines_keep_float32_under_autocast():
    query, key, queue = (vectors(n, seed=n).float() for n in (3, 3, 9))
    exact = info_nce(query, key, queue, 0.07)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(info_nce(query, key, queue, 0.07)[0], exact)


@pytest.mark.parametrize("params", [{}, {"projector_dim": 0}, {"mlp": False, "temperature": 0.07}])
def test_loss_is_info_nce_of_first_views_against_keys_of_second_views(params):
    encoder, objective = create(**params)
    views = views_of()
    objective.loss(encoder, views)
    objective.after_step(encoder, 0.5)
    with torch.no_grad():
        encoder.stem.weight.mul_(1.1)
        query = objective.projector(encoder.embed(views["first"]))
        key = objective.momentum_projector.network(
            objective.momentum_encoder.network.embed(views["second"])
        )
    query, key = (unit_rows(x.double()) for x in (query, key))
    none = [[False] * 16] * 4
    tau = params.get("temperature", 0.2)
    expected, _ = info_nce_reference(query, key, objective.queue, tau, none)
    assert float(objective.loss(encoder, views).loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_parts_tell_collapse_and_the_share_of_false_negatives():
    encoder, objective = create(queue_size=8)
    objective.loss(encoder, views_of(4, first_record=10))
    objective.after_step(encoder, 0.5)
    parts = objective.loss(encoder, views_of(4, first_record=12)).parts
    assert float(parts["same_record"]) == 0.5
    assert float(parts["key_spread"]) > 0.05
    for parameter in objective.momentum_projector.parameters():
        parameter.zero_()
    objective.momentum_projector.network[2].bias.fill_(1)
    assert float(objective.loss(encoder, views_of()).parts["key_spread"]) < 1e-6


# Gradients and what follows the encoder


def test_gradient_reaches_the_encoder_and_the_projector_alone():
    encoder, objective = create()
    state = copy.deepcopy(objective.state_dict())
    objective.loss(encoder, views_of()).loss.backward()
    for parameter in [*encoder.parameters(), *objective.projector.parameters()]:
        assert parameter.grad is not None
    assert encoder.stem.weight.grad.abs().sum() > 0
    trained = {n for n, p in objective.named_parameters() if p.requires_grad}
    assert trained == {f"projector.{n}" for n, _ in objective.projector.named_parameters()}
    assert all(p.grad is None for n, p in objective.named_parameters() if n not in trained)
    assert all(torch.equal(value, state[key]) for key, value in objective.state_dict().items())


def test_the_momentum_networks_move_by_the_equation():
    encoder, objective = create(momentum=0.75)
    before = [p.clone() for p in objective.momentum_encoder.parameters()]
    objective.loss(encoder, views_of())
    with torch.no_grad():
        for parameter in [*encoder.parameters(), *objective.projector.parameters()]:
            parameter.add_(0.5)
    head = [p.clone() for p in objective.momentum_projector.parameters()]
    objective.after_step(encoder, 0.1)
    after = [*objective.momentum_encoder.parameters(), *objective.momentum_projector.parameters()]
    online = [*encoder.parameters(), *objective.projector.parameters()]
    for now, old, theirs in zip(after, [*before, *head], online, strict=True):
        torch.testing.assert_close(now, 0.75 * old + 0.25 * theirs)


# The queue


@settings(max_examples=20, deadline=None)
@given(batches=st.lists(st.integers(1, 12), min_size=1, max_size=8), size=st.integers(1, 10))
def test_the_queue_holds_the_latest_keys_whatever_its_size_and_the_batches(batches, size):
    encoder, objective = create(queue_size=size, projector_dim=0)
    places = [row.tolist() for row in objective.queue]
    marks = [0] * size
    at = 0
    for step, records in enumerate(batches):
        views = views_of(records, seed=step, first_record=100 * (step + 1))
        objective.loss(encoder, views)
        keys = unit_rows(objective.momentum_encoder.network.embed(views["second"]))
        objective.after_step(encoder, 0.5)
        for key, record in list(zip(keys, views["record"], strict=True))[-size:]:
            places[at % size], marks[at % size] = key.tolist(), int(record)
            at += 1
    assert objective.queue_record.tolist() == marks
    assert int(objective.pointer) == at % size
    torch.testing.assert_close(objective.queue, torch.tensor(places), rtol=1e-4, atol=1e-6)


def test_keys_enter_once_with_length_one_and_only_after_the_step():
    encoder, objective = create(queue_size=16)
    start = objective.queue.clone()
    torch.testing.assert_close(start.norm(dim=1), torch.ones(16))
    objective.loss(encoder, views_of(4))
    objective.loss(encoder, views_of(4))
    assert torch.equal(objective.queue, start)
    objective.after_step(encoder, 0.5)
    changed = (objective.queue != start).any(dim=1)
    assert changed.tolist() == [True] * 4 + [False] * 12
    torch.testing.assert_close(objective.queue.norm(dim=1), torch.ones(16))


def test_keys_of_the_same_record_are_excluded_when_asked_for():
    encoder, plain = create(queue_size=8, temperature=0.1)
    _, masked = create(queue_size=8, temperature=0.1, exclude_same_record=True)
    for objective in (plain, masked):
        for first_record in (10, 14):
            objective.loss(encoder, views_of(4, first_record=first_record))
            objective.after_step(encoder, 0.5)
    assert torch.equal(plain.queue, masked.queue)
    views = views_of(4, seed=3, first_record=12)
    same = [[r == q for q in plain.queue_record.tolist()] for r in views["record"].tolist()]
    assert [sum(row) for row in same] == [1, 1, 1, 1]
    with torch.no_grad():
        query = unit_rows(plain.projector(encoder.embed(views["first"])))
        embedding = plain.momentum_encoder.network.embed(views["second"])
        key = unit_rows(plain.momentum_projector.network(embedding))
    for objective, excluded in ((plain, [[False] * 8] * 4), (masked, same)):
        expected, _ = info_nce_reference(query, key, plain.queue, 0.1, excluded)
        loss = float(objective.loss(encoder, views).loss.detach())
        assert loss == pytest.approx(expected, rel=1e-4)


def test_a_record_is_known_by_its_samples_in_any_batch():
    signal = torch.randn(6, 2, 300, generator=torch.Generator().manual_seed(0))
    signal[5] = signal[0]
    keys = record_key(signal).tolist()
    assert keys[5] == keys[0]
    assert len(set(keys)) == 5
    order = torch.tensor([3, 0, 2])
    assert record_key(signal[order]).tolist() == [keys[i] for i in order.tolist()]
    assert record_key(signal.mT.contiguous().mT).tolist() == keys
    bits = signal[1].view(torch.int32).tolist()
    total = sum((t + 1) * value for lead in bits for t, value in enumerate(lead))
    assert keys[1] == (total + 2**63) % 2**64 - 2**63
    nudged = signal.clone()
    nudged[2, 1, 77] += 2e-4
    assert [a == b for a, b in zip(record_key(nudged).tolist(), keys, strict=True)] == [
        i != 2 for i in range(6)
    ]


def test_views_name_the_records_and_draw_from_the_augmenter_alone():
    _, objective = create()
    signal = torch.randn(4, 2, 600, generator=torch.Generator().manual_seed(0))
    batch = Batch(signal, risk=torch.zeros(4), completeness=torch.ones(4))
    torch.manual_seed(1)
    one = objective.views(batch, augmenter())
    torch.manual_seed(2)
    two = objective.views(batch, augmenter())
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(one["record"], record_key(signal))
    assert not torch.equal(one["first"], one["second"])


# Parameters


def test_defaults_are_those_of_the_second_version():
    params = objectives.create("moco", create()[0]).params
    published = (params.queue_size, params.momentum, params.temperature, params.projector_dim)
    assert published == (65_536, 0.999, 0.2, 128)


@pytest.mark.parametrize(
    ("params", "widths", "dim"),
    [
        ({}, [(64, 64), (128, 64)], 128),
        ({"mlp": False}, [(128, 64)], 128),
        ({"projector_dim": 32}, [(64, 64), (32, 64)], 32),
        ({"projector_dim": 0}, [], 64),
    ],
)
def test_the_projector_is_that_of_v2_of_v1_or_none(params, widths, dim):
    _, objective = create(**params)
    weights = [p for p in objective.projector.parameters() if p.ndim == 2]
    assert [tuple(weight.shape) for weight in weights] == widths
    assert objective.queue.shape == (16, dim)


@pytest.mark.parametrize("params", [{"queue_size": 0}, {"momentum": 1.1}, {"temperature": 0.0}])
def test_bad_parameters_are_refused(params):
    with pytest.raises(BadInputError, match=next(iter(params))):
        create(**params)


# Two processes


def two_steps():
    """Return the losses of this process's share of two batches, the queue and its records."""
    encoder, objective = create(queue_size=6)
    losses = []
    for step in range(2):
        views = {
            key: value.chunk(world_size())[rank()] for key, value in views_of(4, seed=step).items()
        }
        losses.append(objective.loss(encoder, views).loss.detach())
        objective.after_step(encoder, 0.5)
    return torch.stack(losses), objective.queue, objective.queue_record


def test_two_processes_hold_the_same_queue_and_their_losses_average_to_that_of_one(tmp_path):
    loss, queue, record = two_steps()
    both = in_two_processes(tmp_path, two_steps)
    losses, queues, records = (torch.stack(parts) for parts in zip(*both, strict=True))
    assert torch.equal(queues[0], queues[1])
    assert records.tolist() == [record.tolist()] * 2
    torch.testing.assert_close(queues[0], queue, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.mean(dim=0), loss, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(losses[0], losses[1])
