import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale import encoders, objectives
from ecgscale.objectives.contrastive import (
    cosine_matrix,
    nt_xent,
    positives,
    similarity_parts,
)


def features(records, dim=5, seed=0):
    return torch.randn(
        2 * records, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def cosine(a, b):
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def nt_xent_reference(z, temperature, weights=None):
    rows = len(z)
    records = rows // 2
    losses = []
    for i in range(rows):
        partner = (i + records) % rows
        positive = math.exp(cosine(z[i], z[partner]) / temperature)
        negative = 0.0
        for j in range(rows):
            if j % records != i % records:
                weight = 1.0 if weights is None else float(weights[i % records, j % records])
                negative += weight * math.exp(cosine(z[i], z[j]) / temperature)
        losses.append(-math.log(positive / (positive + negative)))
    return sum(losses) / rows


@settings(max_examples=30, deadline=None)
@given(
    records=st.integers(1, 6),
    temperature=st.sampled_from([0.07, 0.1, 0.5]),
    seed=st.integers(0, 99),
)
def test_nt_xent_matches_a_double_loop(records, temperature, seed):
    z = features(records, seed=seed)
    loss = float(nt_xent(cosine_matrix(z), temperature))
    assert loss == pytest.approx(nt_xent_reference(z, temperature), rel=1e-9, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(records=st.integers(2, 6), seed=st.integers(0, 99))
def test_weighted_nt_xent_matches_a_double_loop(records, seed):
    z = features(records, seed=seed)
    weights = torch.rand(records, records, generator=torch.Generator().manual_seed(seed)).double()
    weights[0, 1] = 0.0
    loss = float(nt_xent(cosine_matrix(z), 0.1, weights))
    assert loss == pytest.approx(nt_xent_reference(z, 0.1, weights), rel=1e-9)


def test_chance_level_is_the_log_of_the_number_of_candidates():
    z = torch.ones(2 * 8, 4, dtype=torch.float64)
    assert float(nt_xent(cosine_matrix(z), 0.1)) == pytest.approx(math.log(15))


def test_nt_xent_ignores_scale_rotation_and_the_order_of_records():
    z = features(6)
    loss = nt_xent(cosine_matrix(z), 0.1)
    torch.testing.assert_close(nt_xent(cosine_matrix(17 * z), 0.1), loss)
    rotation = torch.linalg.qr(features(3, dim=5)[:5])[0]
    torch.testing.assert_close(nt_xent(cosine_matrix(z @ rotation), 0.1), loss)
    order = torch.tensor([3, 1, 0, 5, 2, 4])
    shuffled = z[torch.cat([order, order + 6])]
    torch.testing.assert_close(nt_xent(cosine_matrix(shuffled), 0.1), loss)
    swapped = torch.cat([z[6:], z[:6]])
    torch.testing.assert_close(nt_xent(cosine_matrix(swapped), 0.1), loss)


def test_nt_xent_gradient_is_that_of_the_formula():
    z = features(4).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: nt_xent(cosine_matrix(z), 0.5), z)


def test_extreme_similarities_stay_finite():
    z = torch.cat([torch.eye(4), -torch.eye(4)]).double().requires_grad_()
    loss = nt_xent(cosine_matrix(z), 0.001)
    loss.backward()
    assert loss.isfinite()
    assert z.grad.isfinite().all()


def test_cosines_keep_float32_under_autocast():
    z = features(4).float()
    exact = cosine_matrix(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(cosine_matrix(z), exact)
    assert cosine_matrix(z.bfloat16()).dtype == torch.float32


def test_positive_and_negative_cosines_match_a_loop():
    z = features(4)
    parts = similarity_parts(cosine_matrix(z))
    positive = [cosine(z[i], z[(i + 4) % 8]) for i in range(8)]
    negative = [cosine(z[i], z[j]) for i in range(8) for j in range(8) if i % 4 != j % 4]
    assert positives(cosine_matrix(z)).tolist() == pytest.approx(positive)
    assert float(parts["positive_cosine"]) == pytest.approx(sum(positive) / 8)
    assert float(parts["negative_cosine"]) == pytest.approx(sum(negative) / len(negative))


def test_projector_has_the_published_shape_and_can_be_left_out():
    encoder = encoders.create("net1d", size="tiny", in_channels=1)
    widths = [
        tuple(layer.weight.shape)
        for layer in objectives.create("simclr", encoder).projector
        if hasattr(layer, "weight")
    ]
    assert widths == [(64, 64), (128, 64)]
    bare = objectives.create("simclr", encoder, projector_dim=0)
    assert list(bare.parameters()) == []


def test_loss_is_nt_xent_of_the_projected_embeddings():
    torch.manual_seed(0)
    encoder = encoders.create("net1d", size="tiny", in_channels=2)
    objective = objectives.create("simclr", encoder, temperature=0.3)
    views = {"first": torch.randn(3, 2, 200), "second": torch.randn(3, 2, 200)}
    z = [objective.projector(encoder.embed(views[key])) for key in ("first", "second")]
    expected = nt_xent_reference(torch.cat(z).detach().double(), 0.3)
    loss = objective.loss(encoder, views).loss.detach()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
