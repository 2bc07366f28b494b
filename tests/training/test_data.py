from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.errors import BadInputError
from ecgscale.training.data import BatchSampler

sizes = st.integers(2, 12).flatmap(lambda batch: st.tuples(st.integers(batch, 40), st.just(batch)))


@given(sizes, st.integers(0, 2**63 - 1))
def test_each_record_once_per_epoch_and_once_per_batch(size: tuple[int, int], seed: int) -> None:
    n, batch = size
    sampler = BatchSampler(n, batch, seed)
    batches = [sampler.batch(step) for step in range(8 * n // batch + 1)]
    assert all(len(set(rows.tolist())) == batch for rows in batches)
    stream = np.concatenate(batches)
    for epoch in range(len(stream) // n):
        assert sorted(stream[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(sizes, st.integers(0, 2**31), st.integers(0, 60))
def test_a_fresh_sampler_gives_the_same_batch(size: tuple[int, int], seed: int, step: int) -> None:
    walked = BatchSampler(*size, seed)
    for earlier in range(step):
        walked.batch(earlier)
    assert np.array_equal(walked.batch(step), BatchSampler(*size, seed).batch(step))


def test_epochs_and_seeds_differ() -> None:
    sampler = BatchSampler(100, 50, 0)
    assert not np.array_equal(sampler.batch(0), sampler.batch(2))
    assert not np.array_equal(sampler.batch(0), BatchSampler(100, 50, 1).batch(0))


def test_every_record_is_as_likely_in_a_batch_that_spans_epochs() -> None:
    # 7 records in batches of 5: the batch of step 1 takes 2 from one epoch and 3 from the next.
    counts = Counter(
        row for seed in range(7000) for row in BatchSampler(7, 5, seed).batch(1).tolist()
    )
    expected = 7000 * 5 / 7
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_too_few_records_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"batch_size is 4,.* 3 records"):
        BatchSampler(3, 4, 0)
