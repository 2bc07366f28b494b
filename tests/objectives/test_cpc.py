import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale import encoders, objectives
from ecgscale.data.augment import Augmenter
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.encoders.base import EncoderParams, SequenceEncoder
from ecgscale.errors import BadInputError
from ecgscale.objectives import Batch
from ecgscale.objectives.cpc import draw_candidates, one_step
from support.toy import PATCHES

RECIPE = Recipe(leads=("I", "II"))
PATCH = 10
DIM = 6

TOY = {**PATCHES, "params": {"steps": 4}}


class Toy(SequenceEncoder):
    """Patches, then at each step a mix of its frame and all others that it may see."""

    def __init__(self, causal, patch=PATCH):
        super().__init__(EncoderParams(in_channels=2))
        self.is_causal = causal
        self.patch = patch
        self.stem = torch.nn.Conv1d(2, 4, patch, patch)
        self.mix = torch.nn.Linear(8, DIM)

    embed_dim = DIM
    mask_dim = 4
    step_samples = property(lambda self: self.patch)
    causal = property(lambda self: self.is_causal)

    def frames(self, x):
        return self.stem(x).transpose(1, 2)

    def contextualise(self, frames, visible=None):
        steps = frames.shape[1]
        sees = torch.ones(steps, steps).tril() if self.causal else torch.ones(steps, steps)
        if visible is not None:
            sees = sees * visible.float().unsqueeze(1)
        mixed = sees @ frames / sees.sum(-1, keepdim=True).clamp_min(1)
        return [self.mix(torch.cat([frames, mixed.expand_as(frames)], dim=-1)).tanh()]


def make(kind, seed=0, **params):
    torch.manual_seed(seed)
    if kind == "net1d":
        encoder = encoders.create("net1d", size="tiny", in_channels=2)
    else:
        encoder = Toy(causal=kind == "causal")
    return encoder, objectives.create("cpc", encoder, **params)


def views_of(objective, records=3, samples=600, seed=0, crop=None):
    generator = torch.Generator().manual_seed(seed)
    augment = Augmenter(AugmentConfig(crop_seconds=crop), 100.0, 2, RECIPE, generator)
    signal = torch.randn(records, 2, samples, generator=torch.Generator().manual_seed(seed + 100))
    unknown = torch.full((records,), math.nan)
    return objective.views(Batch(signal, unknown, unknown), augment)


KINDS = ["causal", "bidirectional", "net1d"]
SAMPLES = {"causal": 90, "bidirectional": 90, "net1d": 600}


# A slow reference, from the equation


def frames_and_contexts(encoder, objective, views, kind):
    """Frames of each record and, for each step that predicts, a context of the past alone."""
    contexts = {}
    with torch.no_grad():
        if kind == "net1d":
            frames = encoder(views["view"])
            for b in range(len(frames)):
                for t in range(frames.shape[1]):
                    contexts[b, t] = objective.context(frames[b : b + 1, : t + 1])[0][0, -1]
        else:
            frames = encoder.frames(views["view"])
            for b, t in views["contexts"].nonzero().tolist():
                past = frames[b : b + 1, : t + 1]
                contexts[b, t] = encoder.contextualise(past)[-1][0, -1]
    return frames, contexts


def cpc_reference(frames, contexts, weight, candidates, horizons, temperature, normalize):
    records, steps, dim = frames.shape
    terms, hits = {k: [] for k in horizons}, {k: [] for k in horizons}
    for number, k in enumerate(horizons):
        w = weight[number * dim : (number + 1) * dim]
        for b in range(records):
            for t in range(steps - k):
                if (b, t) not in contexts:
                    continue
                prediction = w @ contexts[b, t]

                def score(j, b=b, prediction=prediction):
                    frame = frames[b, j]
                    value = float(prediction @ frame)
                    if normalize:
                        value /= float(prediction.norm() * frame.norm())
                    return value / temperature

                counts = candidates[b][t + k]
                others = [j for j in range(steps) for _ in range(int(counts[j])) if j != t + k]
                right, wrong = score(t + k), [score(j) for j in others]
                total = math.exp(right) + sum(math.exp(value) for value in wrong)
                terms[k].append(math.log(total) - right)
                hits[k].append(float(right > max(wrong)))
    loss = sum(sum(v) / len(v) for v in terms.values()) / len(horizons)
    accuracy = sum(sum(v) / len(v) for v in hits.values()) / len(horizons)
    return loss, accuracy


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 99),
    steps=st.integers(1, 4),
    horizons=st.sampled_from(["all", "last"]),
    negatives=st.sampled_from([0, 1, 7]),
    normalize=st.booleans(),
    temperature=st.sampled_from([1.0, 0.2]),
)
def test_loss_matches_the_equation(kind, seed, steps, horizons, negatives, normalize, temperature):
    encoder, objective = make(
        kind,
        seed,
        steps=steps,
        horizons=horizons,
        negatives=negatives,
        normalize=normalize,
        temperature=temperature,
        context_dim=5,
    )
    views = views_of(objective, samples=SAMPLES[kind], seed=seed)
    output = objective.loss(encoder, views)
    frames, contexts = frames_and_contexts(encoder, objective, views, kind)
    predicted = [steps] if horizons == "last" else list(range(1, steps + 1))
    loss, accuracy = cpc_reference(
        frames,
        contexts,
        objective.predict.weight.detach(),
        views["candidates"].tolist(),
        predicted,
        temperature,
        normalize,
    )
    assert float(output.loss.detach()) == pytest.approx(loss, rel=1e-4)
    assert float(output.parts["accuracy"]) == pytest.approx(accuracy, abs=1e-6)


def test_one_horizon_is_the_loss_of_the_public_code_for_ecg():
    """Sum over steps, mean over records, of the cross entropy at the last horizon alone."""
    encoder, objective = make("causal", steps=3, horizons="last", negatives=20)
    views = views_of(objective, samples=120)
    z = encoder.frames(views["view"])
    predicted = objective.predict(encoder(views["view"]))
    rows, steps = z.shape[:2]
    total = torch.zeros(())
    for i in range(steps - 3):
        for b in range(rows):
            counts = views["candidates"][b, i + 3].long()
            counts[i + 3] = 0
            negatives = torch.arange(steps).repeat_interleave(counts)
            assert len(negatives) == 20
            candidates = torch.cat([z[b, i + 3, None], z[b, negatives]])
            logits = candidates @ predicted[b, i]
            total = total + torch.nn.functional.cross_entropy(logits[None], torch.tensor([0]))
    expected = total / rows / (steps - 3)
    torch.testing.assert_close(objective.loss(encoder, views).loss, expected)


# What is drawn


@settings(max_examples=40, deadline=None)
@given(steps=st.integers(2, 12), count=st.integers(1, 30), seed=st.integers(0, 99))
def test_candidates_are_a_step_itself_and_other_steps_of_its_record(steps, count, seed):
    drawn = draw_candidates(4, steps, count, torch.Generator().manual_seed(seed))
    again = draw_candidates(4, steps, count, torch.Generator().manual_seed(seed))
    assert torch.equal(drawn, again)
    assert drawn.shape == (4, steps, steps)
    assert drawn.diagonal(dim1=1, dim2=2).eq(1).all()
    assert drawn.sum(dim=-1).eq(1 + count).all()
    assert torch.equal(drawn, drawn.round().clamp_min(0))


def test_no_count_takes_every_other_step_once():
    assert draw_candidates(2, 5, 0, torch.Generator()).eq(1).all()


def test_negatives_are_uniform_over_the_other_steps():
    drawn = draw_candidates(500, 5, 100, torch.Generator().manual_seed(0))
    share = (drawn - torch.eye(5)).sum(dim=0) / 50_000
    torch.testing.assert_close(share, (1 - torch.eye(5)) / 4, atol=0.01, rtol=0)


def test_one_step_a_record_is_drawn_uniformly_below_the_bound():
    chosen = one_step(20_000, 6, 4, torch.Generator().manual_seed(0))
    assert chosen.sum(dim=1).eq(1).all()
    expected = torch.tensor([0.25, 0.25, 0.25, 0.25, 0, 0])
    torch.testing.assert_close(chosen.float().mean(dim=0), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_views_are_a_function_of_the_generator(kind):
    _, objective = make(kind, steps=2)
    first, again, other = (views_of(objective, seed=seed) for seed in (1, 1, 2))
    assert set(first) == {"view", "contexts", "candidates"}
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["candidates"], other["candidates"])
    assert first["candidates"].sum(dim=-1).eq(1 + 128).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_crop_without_steps_ahead_is_refused_and_the_next_longer_one_is_not(kind):
    encoder, objective = make(kind, steps=4)
    too_short = 4 * encoder.step_samples / 100
    with pytest.raises(BadInputError, match=r"params\.steps = 4.*augment\.crop_seconds"):
        views_of(objective, crop=too_short)
    views = views_of(objective, crop=too_short + 0.01 * encoder.step_samples)
    assert objective.loss(encoder, views).loss.isfinite()


# Who sees what


@pytest.mark.parametrize("kind", ["causal", "bidirectional"])
def test_a_context_depends_on_no_later_frame(kind):
    encoder, objective = make(kind, steps=2)
    views = views_of(objective, records=4, samples=90)
    frames = encoder.frames(views["view"]).detach()
    leaf = frames.clone().requires_grad_()
    encoder.frames = lambda view: leaf
    _, context = objective._frames_and_context(encoder, views["view"], views["contexts"])
    for b, t in views["contexts"].nonzero().tolist():
        (gradient,) = torch.autograd.grad(context[b, t].sum(), leaf, retain_graph=True)
        assert gradient[b, t].abs().sum() > 0
        assert gradient[b, t + 1 :].abs().sum() == 0
        assert gradient[:b].abs().sum() == gradient[b + 1 :].abs().sum() == 0


def test_only_encoders_without_frames_get_a_recurrent_context():
    assert make("causal")[1].context is None
    assert make("bidirectional")[1].context is None
    assert make("net1d", context_dim=9)[1].context.hidden_size == 9


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_bidirectional_context_is_taken_at_one_step_a_record(kind):
    _, objective = make(kind, steps=2)
    contexts = views_of(objective)["contexts"]
    if kind == "bidirectional":
        assert contexts.sum(dim=1).eq(1).all()
        assert not contexts[:, -2:].any()
    else:
        assert contexts.all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("horizons", ["all", "last"])
def test_every_parameter_learns(kind, horizons):
    encoder, objective = make(kind, steps=3, horizons=horizons)
    objective.loss(encoder, views_of(objective)).loss.backward()
    for key, parameter in [*encoder.named_parameters(), *objective.named_parameters()]:
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


def test_the_target_frames_take_gradient_too():
    encoder, objective = make("causal", steps=1, negatives=3)
    views = views_of(objective, records=1, samples=20)
    frames = encoder.frames(views["view"]).detach().requires_grad_()
    encoder.frames = lambda view: frames
    objective.loss(encoder, views).loss.backward()
    assert frames.grad[0, 1].abs().sum() > 0


# What it reads as


@pytest.mark.parametrize("negatives", [0, 8])
def test_a_collapse_is_seen(negatives):
    encoder, objective = make("causal", steps=2, negatives=negatives)
    views = views_of(objective, samples=100)
    torch.nn.init.zeros_(encoder.stem.weight)
    output = objective.loss(encoder, views)
    choices = 1 + (negatives or views["contexts"].shape[1] - 1)
    assert float(output.loss.detach()) == pytest.approx(math.log(choices), rel=1e-5)
    assert float(output.parts["frame_sd"]) == pytest.approx(0, abs=1e-6)
    assert output.parts["accuracy"] == output.parts["accuracy_last"] == 0


def test_perfect_predictions_read_as_certainty():
    encoder, objective = make("causal", steps=1, normalize=True, temperature=0.01)
    views = views_of(objective, records=1, samples=40)
    frames = torch.eye(4).unsqueeze(0)
    encoder.frames = lambda view: frames
    encoder.contextualise = lambda frames: [torch.nn.functional.pad(frames.roll(-1, 1), (0, 2))]
    torch.nn.init.eye_(objective.predict.weight)
    output = objective.loss(encoder, views)
    assert output.parts["accuracy"] == 1
    assert float(output.loss.detach()) < 1e-6


def test_the_loss_is_computed_in_float32_under_autocast():
    encoder, objective = make("causal", steps=3, temperature=0.05)
    views = views_of(objective)
    plain = objective.loss(encoder, views).loss
    with torch.autocast("cpu", torch.bfloat16):
        output = objective.loss(encoder, views)
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss, plain, rtol=0.03, atol=0)


def test_calling_the_loss_changes_nothing():
    encoder, objective = make("net1d", steps=2)
    views = views_of(objective)
    assert torch.equal(objective.loss(encoder, views).loss, objective.loss(encoder, views).loss)
