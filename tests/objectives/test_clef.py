import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale import encoders, objectives
from ecgscale.data.augment import Augmenter
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.objectives import Batch

NAN = math.nan
WEIGHTINGS = ["paper", "public_code", "uniform", "uniform_public_code"]


class Features(torch.nn.Module):
    """Stands for an encoder: what it is given is the embedding."""

    embed_dim = 5

    def embed(self, x):
        return x


def features(records, seed=0):
    return torch.randn(
        2 * records, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def clef_loss(z, risk, completeness=None, **params):
    records = len(z) // 2
    risk = torch.as_tensor(risk, dtype=torch.float64)
    if completeness is None:
        completeness = torch.ones(records)
    views = {
        "first": z[:records],
        "second": z[records:],
        "risk": risk,
        "completeness": torch.as_tensor(completeness, dtype=torch.float64),
    }
    return objectives.create("clef", Features(), **params).loss(Features(), views)


# A slow reference, from the equations


def dissimilarity_reference(risk, completeness, floor=0.2, missing_metadata=True):
    records = len(risk)
    pairs = [(i, k) for i in range(records) for k in range(records) if i != k]
    known = [(i, k) for i, k in pairs if not (math.isnan(risk[i]) or math.isnan(risk[k]))]
    largest = max((((risk[i] - risk[k]) ** 2) for i, k in known), default=0.0)
    d = {(i, k): (risk[i] - risk[k]) ** 2 / largest if largest else 0.0 for i, k in known}
    neutral = sum(d.values()) / len(known) if known else 0.0
    w = [[0.0] * records for _ in range(records)]
    for i, k in pairs:
        value = floor + (1 - floor) * d.get((i, k), neutral)
        if missing_metadata:
            value *= math.exp(-completeness[i] * completeness[k])
        w[i][k] = value
    return w


def weights_reference(w, weighting):
    records = len(w)
    weights = [[0.0] * records for _ in range(records)]
    for i in range(records):
        for k in range(records):
            if i == k:
                continue
            if weighting == "paper":
                weights[i][k] = w[i][k] / (sum(w[i]) / (records - 1))
            elif weighting == "public_code":
                full_row = [w[i][j % records] for j in range(2 * records)]
                weights[i][k] = math.exp(w[i][k]) / sum(math.exp(value) for value in full_row)
            elif weighting == "uniform":
                weights[i][k] = 1.0
            else:
                weights[i][k] = 1 / (2 * records)
    return weights


def clef_reference(
    z, risk, completeness, weighting="paper", alignment=1.0, temperature=0.07, **how
):
    records = len(risk)
    rows = 2 * records
    unit = [row / math.sqrt(float(row @ row)) for row in z]
    s = [[float(unit[i] @ unit[j]) for j in range(rows)] for i in range(rows)]
    w = dissimilarity_reference(risk, completeness, **how)
    weights = weights_reference(w, weighting)
    contrast = 0.0
    for i in range(rows):
        positive = math.exp(s[i][(i + records) % rows] / temperature)
        negative = 0.0
        for j in range(rows):
            if j % records != i % records:
                negative += weights[i % records][j % records] * math.exp(s[i][j] / temperature)
        contrast -= math.log(positive / (positive + negative)) / rows
    low, high = min(map(min, s)), max(map(max, s))
    errors = []
    for i in range(rows):
        for j in range(rows):
            a, b = i % records, j % records
            if a == b or not (math.isnan(risk[a]) or math.isnan(risk[b])):
                stretched = (s[i][j] - low) / (high - low)
                errors.append((stretched - (1 - w[a][b])) ** 2)
    aligned = sum(errors) / len(errors)
    return (contrast + alignment * aligned) / (1 + alignment), contrast, aligned


risks = st.one_of(st.just(NAN), st.floats(0, 1).map(lambda value: round(value, 3)))


@settings(max_examples=60, deadline=None)
@given(
    batch=st.lists(st.tuples(risks, st.sampled_from([0.0, 0.25, 1.0])), min_size=2, max_size=6),
    weighting=st.sampled_from(WEIGHTINGS),
    missing_metadata=st.booleans(),
    alignment=st.sampled_from([0.0, 1.0, 3.0]),
    seed=st.integers(0, 20),
)
def test_loss_matches_the_equations(batch, weighting, missing_metadata, alignment, seed):
    risk, completeness = [list(column) for column in zip(*batch, strict=True)]
    z = features(len(risk), seed)
    how = {"weighting": weighting, "alignment": alignment, "missing_metadata": missing_metadata}
    output = clef_loss(z, risk, completeness, **how)
    loss, contrast, aligned = clef_reference(z, risk, completeness, **how)
    assert float(output.loss) == pytest.approx(loss, rel=1e-9)
    assert float(output.parts["weighted_nt_xent"]) == pytest.approx(contrast, rel=1e-9)
    if alignment:
        assert float(output.parts["alignment"]) == pytest.approx(aligned, rel=1e-9)
    else:
        assert "alignment" not in output.parts


def public_code_reference(z, risk, temperature=0.07):
    """The loss as the public code computes it (its own epsilons left out), complete metadata."""
    n = len(risk)
    r = torch.tensor(risk, dtype=torch.float64)
    d = (r[:, None] - r[None, :]) ** 2
    d = 0.8 * d / d.max() + 0.2
    d.fill_diagonal_(0)
    similarity = 1 - d.repeat(2, 2)
    unit = z / z.norm(dim=1, keepdim=True)
    s = unit @ unit.T
    w = torch.softmax(1 - similarity, dim=1)
    contrast = 0.0
    for i in range(2 * n):
        positive = torch.exp(s[i, (i + n) % (2 * n)] / temperature)
        negative = sum(
            w[i, j] * torch.exp(s[i, j] / temperature) for j in range(2 * n) if j % n != i % n
        )
        contrast -= torch.log(positive / (positive + negative)) / (2 * n)
    stretched = (s - s.min()) / (s.max() - s.min())
    return float((contrast + (stretched - similarity).square().mean()) / 2)


def test_the_settings_that_stand_for_the_public_code_give_its_loss():
    z, risk = features(6), [0.02, 0.3, 0.11, 0.07, 0.5, 0.05]
    output = clef_loss(z, risk, weighting="public_code", missing_metadata=False)
    assert float(output.loss) == pytest.approx(public_code_reference(z, risk), rel=1e-9)


# The controls


def test_uniform_weighting_without_alignment_is_nt_xent():
    z, risk = features(6), [0.1, 0.2, NAN, 0.4, 0.5, 0.6]
    encoder = Features()
    simclr = objectives.create("simclr", encoder, temperature=0.07, projector_dim=0)
    expected = simclr.loss(encoder, {"first": z[:6], "second": z[6:]}).loss
    output = clef_loss(z, risk, weighting="uniform", alignment=0.0)
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize("completeness", [0.0, 0.4, 1.0])
def test_paper_weighting_is_uniform_when_risk_and_completeness_are_equal(completeness):
    z, risk = features(6), [0.3] * 6
    paper = clef_loss(z, risk, [completeness] * 6, weighting="paper")
    uniform = clef_loss(z, risk, [completeness] * 6, weighting="uniform")
    torch.testing.assert_close(paper.loss, uniform.loss)


def test_public_code_repels_less_than_the_sum_by_about_log_2b():
    z, risk = features(32), torch.rand(32, generator=torch.Generator().manual_seed(0)).tolist()
    unit = z / z.norm(dim=1, keepdim=True)
    margin = {}
    for weighting in ("paper", "public_code"):
        w = dissimilarity_reference(risk, [1.0] * 32, missing_metadata=False)
        weights = torch.tensor(weights_reference(w, weighting), dtype=torch.float64).repeat(2, 2)
        margin[weighting] = (weights * torch.exp(unit @ unit.T / 0.07)).sum(dim=1).log()
    gap = float((margin["paper"] - margin["public_code"]).mean())
    assert gap == pytest.approx(math.log(64), abs=0.25)


def test_more_dissimilar_risk_repels_more():
    risk = torch.tensor([0.1, 0.12, 0.9], dtype=torch.float64)
    z = features(3).requires_grad_()
    w = weights_reference(dissimilarity_reference(risk.tolist(), [0.0] * 3), "paper")
    assert w[0][2] > w[0][1]
    clef_loss(z, risk, [0.0] * 3, alignment=0.0).loss.backward()
    assert z.grad.isfinite().all()


def test_shuffled_risk_is_a_seeded_permutation_within_the_batch_that_keeps_records_together():
    encoder = encoders.create("net1d", size="tiny", in_channels=2)
    recipe = Recipe(leads=("I", "II"))
    batch = Batch(
        signal=torch.randn(32, 2, 1000),
        risk=torch.arange(32.0) / 32,
        completeness=1 - torch.arange(32.0) / 32,
    )

    def views(seed, **params):
        generator = torch.Generator().manual_seed(seed)
        augment = Augmenter(AugmentConfig(), 100.0, 2, recipe, generator)
        return objectives.create("clef", encoder, **params).views(batch, augment)

    plain, shuffled = views(0), views(0, shuffle_risk=True)
    assert torch.equal(plain["risk"], batch.risk)
    assert torch.equal(plain["first"], shuffled["first"])
    assert torch.equal(plain["second"], shuffled["second"])
    assert not torch.equal(shuffled["risk"], batch.risk)
    assert torch.equal(shuffled["risk"].sort().values, batch.risk)
    assert torch.equal(shuffled["completeness"], 1 - shuffled["risk"])
    assert torch.equal(views(0, shuffle_risk=True)["risk"], shuffled["risk"])
    assert not torch.equal(views(1, shuffle_risk=True)["risk"], shuffled["risk"])


# Missing metadata and unknown risk


def test_the_missing_metadata_term_weighs_pairs_as_the_formula_says():
    inputs, missing = 8, [0, 2, 8]
    completeness = [(inputs - m) / inputs for m in missing]
    term = objectives.clef.missing_metadata_term(torch.tensor(completeness, dtype=torch.float64))
    for i, m_i in enumerate(missing):
        for k, m_k in enumerate(missing):
            formula = math.exp(-((inputs - m_i) / inputs) * ((inputs - m_k) / inputs))
            assert float(term[i, k]) == pytest.approx(formula)
    z, risk = features(3), [0.1, 0.2, 0.3]
    with_term = clef_loss(z, risk, completeness).loss
    without = clef_loss(z, risk, completeness, missing_metadata=False).loss
    assert abs(with_term - without) > 1e-4


def test_unknown_risk_is_not_the_lowest_risk():
    z = features(5)
    unknown = clef_loss(z, [NAN, 0.2, 0.5, 0.6, 0.9])
    lowest = clef_loss(z, [0.0, 0.2, 0.5, 0.6, 0.9])
    assert abs(unknown.loss - lowest.loss) > 1e-4


def test_unknown_risk_has_the_mean_dissimilarity_of_the_known_pairs():
    risk = torch.tensor([NAN, 0.1, 0.2, 0.5], dtype=torch.float64)
    dissimilarity = objectives.clef.risk_dissimilarity(risk, 0.2)
    known = dissimilarity[1:, 1:]
    mean = known.sum() / 6
    torch.testing.assert_close(dissimilarity[0, 1:], mean.expand(3))
    torch.testing.assert_close(dissimilarity[1:, 0], mean.expand(3))
    assert dissimilarity.diagonal().eq(0).all()
    torch.testing.assert_close(known, objectives.clef.risk_dissimilarity(risk[1:], 0.2))


def test_the_embedding_of_an_unknown_risk_is_not_aligned_with_others():
    z, risk = features(4), torch.tensor([NAN, 0.1, 0.5, 0.9], dtype=torch.float64)
    known = ~risk.isnan()
    w = objectives.clef.risk_dissimilarity(risk, 0.2)

    def aligned(value):
        changed = torch.eye(8, dtype=torch.float64) + 0.1
        changed[0, 1] = changed[1, 0] = value
        return objectives.clef.alignment_loss(changed, w, known)

    assert float(aligned(0.3)) == float(aligned(0.7))
    assert clef_loss(z, risk).loss.isfinite()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize(
    "risk",
    [[NAN] * 4, [NAN, NAN, NAN, 0.1], [0.2] * 4, [0.1, 0.1, 0.1, 0.9]],
    ids=["none known", "one known", "all equal", "one outlier"],
)
@pytest.mark.parametrize("floor", [0.0, 0.2, 1.0])
def test_degenerate_risks_give_finite_losses_and_gradients(weighting, risk, floor):
    z = features(4).requires_grad_()
    output = clef_loss(z, risk, [0.0, 0.5, 1.0, 1.0], weighting=weighting, floor=floor)
    output.loss.backward()
    assert output.loss.isfinite()
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0


def test_collapsed_embeddings_give_finite_losses_and_gradients():
    z = torch.ones(8, 5, dtype=torch.float64, requires_grad=True)
    output = clef_loss(z, [0.1, 0.2, 0.3, 0.4])
    output.loss.backward()
    assert output.loss.isfinite()
    assert z.grad.isfinite().all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), weighting=st.sampled_from(WEIGHTINGS))
def test_loss_ignores_the_order_of_records_and_shift_and_scale_of_risk(seed, weighting):
    generator = torch.Generator().manual_seed(seed)
    z, risk = features(5, seed), torch.rand(5, generator=generator).double()
    completeness = torch.rand(5, generator=generator).double()
    loss = clef_loss(z, risk, completeness, weighting=weighting).loss
    order = torch.randperm(5, generator=generator)
    shuffled = z[torch.cat([order, order + 5])]
    again = clef_loss(shuffled, risk[order], completeness[order], weighting=weighting).loss
    torch.testing.assert_close(again, loss)
    moved = clef_loss(z, 0.1 + 0.5 * risk, completeness, weighting=weighting).loss
    torch.testing.assert_close(moved, loss)
