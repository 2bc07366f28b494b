import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.training.schedule import derived_seed, learning_rate, total_steps
from ecgscale.training.settings import TrainingConfig


def curve(steps: int, **settings: float) -> list[float]:
    config = TrainingConfig(**settings)
    return [learning_rate(step, steps, config) for step in range(steps)]


def test_follows_the_closed_form() -> None:
    rates = curve(100, lr=0.5, warmup_fraction=0.2, min_lr_fraction=0.1)
    for step, rate in enumerate(rates):
        if step < 20:
            expected = 0.5 * (step + 1) / 20
        else:
            expected = 0.05 + 0.45 * 0.5 * (1 + math.cos(math.pi * (step - 20) / 80))
        assert rate == pytest.approx(expected, rel=1e-12)


def test_without_warmup_starts_at_the_top() -> None:
    assert curve(10, lr=1.0, warmup_fraction=0.0)[0] == 1.0


@given(
    steps=st.integers(1, 300),
    warmup=st.floats(0, 0.99),
    floor=st.floats(0, 1),
)
def test_stays_in_range_and_has_one_peak(steps: int, warmup: float, floor: float) -> None:
    rates = curve(steps, lr=1.0, warmup_fraction=warmup, min_lr_fraction=floor)
    assert all(0 < rate <= 1 for rate in rates)
    falling = [later <= earlier for earlier, later in pairwise(rates)]
    peak = rates.index(max(rates))
    assert not any(falling[:peak])
    assert all(falling[peak:])


def test_regimes_count_steps() -> None:
    fixed = TrainingConfig(regime="fixed_steps", steps=7, batch_size=4)
    assert [total_steps(fixed, n) for n in (4, 400)] == [7, 7]
    epochs = TrainingConfig(regime="fixed_epochs", epochs=2.5, batch_size=4)
    assert total_steps(epochs, 10) == 7  # 25 records in batches of 4, the last one filled up
    assert total_steps(epochs, 16) == 10


def test_derived_seeds_are_distinct_and_fit_a_generator() -> None:
    seeds = {derived_seed(use, seed, step) for use in "ab" for seed in (0, 1) for step in range(50)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed("a", 1, 11) != derived_seed("a", 11, 1)
