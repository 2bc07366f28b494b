import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.data.normalise import normalise
from ecgscale.data.recipe import Recipe

ZSCORE = Recipe()


def by_hand(lead: np.ndarray) -> np.ndarray:
    """Z-score of what comes before the zeros at the end."""
    lead = lead.astype(np.float64)
    length = len(np.trim_zeros(lead, "b"))
    signal = lead[:length]
    if length == 0 or signal.std() < 1e-4:
        return np.zeros_like(lead)
    return np.concatenate([(signal - signal.mean()) / signal.std(), lead[length:]])


@given(seed=st.integers(0, 10_000), length=st.integers(0, 40), scale=st.floats(1e-2, 100))
def test_zscore_per_record_and_lead_without_padding(seed, length, scale):
    x = np.random.default_rng(seed).normal(3.0, scale, (2, 3, 40)).astype(np.float32)
    x[:, :, length:] = 0
    found = normalise(torch.from_numpy(x), ZSCORE).numpy()
    expected = np.array([[by_hand(lead) for lead in record] for record in x])
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_flat_leads_become_zero():
    x = torch.zeros(1, 3, 50)
    x[0, 1] = 0.7
    x[0, 2] = 0.5 + 1e-6 * torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(normalise(x, ZSCORE), torch.zeros(1, 3, 50))


def test_a_lead_does_not_depend_on_its_neighbours():
    x = torch.randn(4, 12, 100, generator=torch.Generator().manual_seed(1))
    assert torch.equal(normalise(x, ZSCORE)[:, [1]], normalise(x[:, [1]], ZSCORE))


def test_none_returns_the_signal():
    x = torch.randn(2, 1, 30, generator=torch.Generator().manual_seed(2))
    assert torch.equal(normalise(x, Recipe(normalise="none")), x)
