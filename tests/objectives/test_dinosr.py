import copy
import math

import pytest
import torch

from ecgscale import encoders, objectives
from ecgscale.distributed import rank, world_size
from ecgscale.errors import BadInputError
from ecgscale.objectives.dinosr import cluster_sums, nearest
from support.processes import in_two_processes

WORDS = 6

TOY = {
    "params": {"mask_length": 1, "codewords": 32},
    "encoder": {"name": "vit1d", "size": "tiny", "patch": 50},
    "lr": 3e-3,
    "crop": None,
    "wander": 0.0,
    "augment": {"noise_prob": 0.0, "wander_prob": 0.0},
}


def create(name="vit1d", seed=0, codewords=WORDS, **params):
    """Return an encoder and the objective with a teacher that has drifted from it."""
    torch.manual_seed(seed)
    encoder = encoders.create(name, size="tiny", in_channels=2)
    objective = objectives.create("dinosr", encoder, codewords=codewords, **params)
    with torch.no_grad():
        for parameter in objective.teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder, objective


def views_of(records=4, length=160, steps=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(records, steps, generator=generator) < 0.4
    mask[:, 0], mask[:, 1] = True, False
    return {"view": torch.randn(records, 2, length, generator=generator), "mask": mask}


# A slow reference, from the equations


def closest(target, codebook):
    distances = [float((target - word).square().sum()) for word in codebook]
    return distances.index(min(distances))


def hidden_places(mask):
    return [(r, t) for r, row in enumerate(mask.tolist()) for t, hidden in enumerate(row) if hidden]


def loss_reference(objective, encoder, views):
    """Return the loss, and the share of clusters named, hidden step by hidden step."""
    tokens = encoder(views["view"], views["mask"], objective.mask_embedding)
    targets = objective.target_layers(views)
    losses, named = [], []
    for r, t in hidden_places(views["mask"]):
        for k, codebook in enumerate(objective.codebooks):
            rows = slice(k * len(codebook), (k + 1) * len(codebook))
            head = objective.heads
            scores = (head.weight[rows] @ tokens[r, t] + head.bias[rows]).tolist()
            cluster = closest(targets[k, r, t], codebook)
            total = sum(math.exp(score) for score in scores)
            losses.append(math.log(total) - scores[cluster])
            named.append(scores.index(max(scores)) == cluster)
    return sum(losses) / len(losses), sum(named) / len(named)


@pytest.mark.parametrize(("norm", "top_layers"), [("instance", 8), ("layer", 2)])
def test_loss_matches_the_equations(norm, top_layers):
    encoder, objective = create(target_norm=norm, top_layers=top_layers)
    views = views_of()
    assert len(objective.codebooks) == min(top_layers, 4)
    expected, accuracy = loss_reference(objective, encoder, views)
    output = objective.loss(encoder, views)
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert float(output.parts["accuracy"]) == pytest.approx(accuracy)


def test_the_nearest_codeword_is_that_of_a_loop_over_all():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(2, 3, 4, 5, generator=generator)
    codebooks = 3 * torch.randn(2, 7, 5, generator=generator)
    found = nearest(targets, codebooks)
    for k in range(2):
        for r in range(3):
            for t in range(4):
                assert int(found[k, r, t]) == closest(targets[k, r, t], codebooks[k])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest(targets, codebooks), found)


def codebooks_reference(objective, views, decay):
    """Return sums and counts after the update, cluster by cluster."""
    targets = objective.target_layers(views).double()
    sums, counts = objective.codebook_sums.double(), objective.codebook_counts.double()
    for k, codebook in enumerate(objective.codebooks.double()):
        members = {}
        for r, t in hidden_places(views["mask"]):
            members.setdefault(closest(targets[k, r, t], codebook), []).append(targets[k, r, t])
        for word, inside in members.items():
            sums[k, word] = decay * sums[k, word] + (1 - decay) * torch.stack(inside).sum(dim=0)
            counts[k, word] = decay * counts[k, word] + (1 - decay) * len(inside)
    return sums, counts


@pytest.mark.parametrize("decay", [0.9, 0.0])
def test_the_codebooks_move_by_their_equations_and_empty_clusters_stay(decay):
    encoder, objective = create(codewords=32, codebook_decay=decay)
    views, start = views_of(), objective.codebook_sums.clone()
    for step in range(2):
        sums, counts = codebooks_reference(objective, views, decay)
        objective.loss(encoder, views)
        objective.after_step(encoder, (step + 1) / 10)
        torch.testing.assert_close(objective.codebook_sums.double(), sums, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(objective.codebook_counts.double(), counts)
        torch.testing.assert_close(
            objective.codebooks.double(), sums / counts.unsqueeze(-1), atol=1e-5, rtol=1e-5
        )
    untouched = (objective.codebook_sums == start).all(dim=-1)
    assert untouched.any()
    assert not untouched.all()


def test_steps_that_are_seen_do_not_move_the_codebooks():
    targets = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    chosen = torch.zeros(1, 2, 3, 5)
    chosen[0, 1, 2, 3] = 1.0
    sums, counts = cluster_sums(targets, chosen)
    assert torch.equal(sums[0, 3], targets[0, 1, 2])
    assert float(sums.abs().sum()) == pytest.approx(float(targets[0, 1, 2].abs().sum()))
    assert counts.tolist() == [[0.0, 0.0, 0.0, 1.0, 0.0]]


def test_the_codebook_starts_normalised_over_its_words():
    _, objective = create(codewords=64)
    assert objective.codebooks.mean(dim=1).abs().max() < 1e-5
    assert (objective.codebooks.var(dim=1, correction=0) - 1).abs().max() < 1e-3
    assert (objective.codebook_counts == 1).all()


@pytest.mark.parametrize(("name", "layers"), [("vit1d", 4), ("net1d", 1)])
def test_there_is_a_codebook_for_each_layer_of_the_shape_of_the_tokens(name, layers):
    encoder, objective = create(name)
    dim = encoder.embed_dim
    assert objective.codebook_sums.shape == (layers, WORDS, dim)
    assert objective.codebook_counts.shape == (layers, WORDS)
    assert objective.heads.weight.shape == (layers * WORDS, dim)
    assert objective.loss(encoder, views_of(length=8 * encoder.step_samples)).loss.isfinite()


# What learns, what follows, what stays


def test_gradient_reaches_encoder_mask_embedding_and_heads_alone():
    encoder, objective = create()
    objective.loss(encoder, views_of()).loss.backward()
    learned = [*encoder.parameters(), objective.mask_embedding, *objective.heads.parameters()]
    assert all(parameter.grad.abs().sum() > 0 for parameter in learned)
    trainable = {id(parameter) for parameter in objective.parameters() if parameter.requires_grad}
    assert trainable == {id(parameter) for parameter in learned[-3:]}


def test_the_teacher_follows_until_it_is_frozen_and_the_codebooks_go_on():
    encoder, objective = create(teacher_start=0.9, teacher_end=0.9, teacher_freeze=0.5)
    theirs = next(encoder.parameters())
    mine = next(objective.teacher.parameters())
    before = mine.clone()
    objective.loss(encoder, views_of())
    objective.after_step(encoder, 0.5)
    torch.testing.assert_close(mine, 0.9 * before + 0.1 * theirs)
    frozen, counts = mine.clone(), objective.codebook_counts.clone()
    objective.loss(encoder, views_of())
    objective.after_step(encoder, 0.51)
    assert torch.equal(mine, frozen)
    assert not torch.equal(objective.codebook_counts, counts)


def test_counting_layers_draws_nothing_and_leaves_the_modes_alone():
    torch.manual_seed(0)
    encoder = encoders.create("vit1d", size="tiny", in_channels=2).eval()
    objective = objectives.create("dinosr", encoder, codewords=WORDS)
    assert not encoder.training
    assert not any(module.training for module in objective.teacher.network.modules())


def test_a_second_call_of_loss_gives_the_same_and_changes_no_state():
    encoder, objective = create()
    views, state = views_of(), copy.deepcopy(objective.state_dict())
    first, second = (objective.loss(encoder, views).loss for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, state[key]) for key, value in objective.state_dict().items())


def test_the_loss_and_the_codebooks_keep_float32_under_autocast():
    encoder, objective = create()
    exact = objective.loss(encoder, views_of()).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = objective.loss(encoder, views_of())
    objective.after_step(encoder, 0.1)
    assert rounded.loss.dtype == objective.codebook_sums.dtype == torch.float32
    torch.testing.assert_close(rounded.loss, exact, rtol=0.1, atol=0)


# Collapse shows


def perplexity_reference(counts):
    shares = [count / sum(counts) for count in counts if count]
    return math.exp(-sum(share * math.log(share) for share in shares))


def test_target_perplexity_is_that_of_the_hidden_steps_clusters():
    encoder, objective = create()
    views = views_of()
    targets = objective.target_layers(views)
    expected = []
    for k, codebook in enumerate(objective.codebooks):
        counts = [0] * WORDS
        for r, t in hidden_places(views["mask"]):
            counts[closest(targets[k, r, t], codebook)] += 1
        expected.append(perplexity_reference(counts))
    parts = objective.loss(encoder, views).parts
    assert float(parts["target_perplexity"]) == pytest.approx(sum(expected) / 4, rel=1e-5)
    assert max(expected) > 2


def test_perplexities_are_one_when_all_is_one_cluster_and_v_when_nothing_is_known():
    encoder, objective = create()
    with torch.no_grad():
        objective.heads.weight.zero_()
        objective.heads.bias.zero_()
        objective.codebook_sums[:, 1:] += 1000.0
    parts = objective.loss(encoder, views_of()).parts
    assert float(parts["target_perplexity"]) == pytest.approx(1)
    assert float(parts["prediction_perplexity"]) == pytest.approx(WORDS)
    with torch.no_grad():
        objective.heads.bias[0::WORDS] = 100.0
    parts = objective.loss(encoder, views_of()).parts
    assert float(parts["prediction_perplexity"]) == pytest.approx(1)
    assert float(parts["accuracy"]) == 1


@pytest.mark.parametrize(
    "params", [{"codewords": 1}, {"codebook_decay": 1.0}, {"teacher_freeze": 1.5}]
)
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(BadInputError, match=next(iter(params))):
        create(**params)


# Two processes


def two_steps():
    """Return the codebooks after this process's share of two batches."""
    encoder, objective = create()
    for step in range(2):
        views = views_of(seed=step)
        views = {key: value.chunk(world_size())[rank()] for key, value in views.items()}
        with torch.no_grad():
            objective.loss(encoder, views)
        objective.after_step(encoder, 0.1)
    return objective.codebook_sums, objective.codebook_counts


def test_two_processes_keep_the_codebooks_of_one_with_the_whole_batch(tmp_path):
    sums, counts = two_steps()
    both = in_two_processes(tmp_path, two_steps)
    all_sums, all_counts = (torch.stack(parts) for parts in zip(*both, strict=True))
    assert torch.equal(all_sums[0], all_sums[1])
    assert torch.equal(all_counts[0], all_counts[1])
    torch.testing.assert_close(all_counts[0], counts)
    torch.testing.assert_close(all_sums[0], sums, atol=1e-5, rtol=1e-5)
    assert not torch.equal(counts, torch.ones_like(counts))
