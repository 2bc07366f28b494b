import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale.errors import BadInputError
from ecgscale.objectives.masking import block, random_mask, span_mask

RECORDS = 20_000
"""Enough that a frequency is known to .01 (three standard errors)."""

seeds = st.integers(0, 2**31)
batches = st.integers(1, 5)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def runs(row):
    """Return the lengths of the runs of hidden steps."""
    lengths, current = [], 0
    for hidden in [*row.tolist(), False]:
        if hidden:
            current += 1
        elif current:
            lengths.append(current)
            current = 0
    return lengths


def check_form(mask, batch, steps):
    assert mask.shape == (batch, steps)
    assert mask.dtype == torch.bool


# Steps one by one


@settings(max_examples=100, deadline=None)
@given(batch=batches, steps=st.integers(2, 60), ratio=st.floats(0, 1), seed=seeds)
def test_a_random_mask_hides_exactly_the_share_asked_for(batch, steps, ratio, seed):
    mask = random_mask(batch, steps, ratio, generator(seed))
    check_form(mask, batch, steps)
    expected = min(max(round(ratio * steps), 1), steps - 1)
    assert mask.sum(dim=1).tolist() == [expected] * batch
    assert torch.equal(mask, random_mask(batch, steps, ratio, generator(seed)))


def test_a_random_mask_hides_every_step_and_every_pair_of_steps_equally_often():
    mask = random_mask(RECORDS, 6, 0.5, generator()).double()
    together = mask.T @ mask / RECORDS
    torch.testing.assert_close(
        together.diagonal(), torch.full((6,), 0.5).double(), atol=0.012, rtol=0
    )
    pairs = together[~torch.eye(6, dtype=torch.bool)]
    torch.testing.assert_close(pairs, torch.full((30,), 0.2).double(), atol=0.012, rtol=0)


# Spans


def span_reference(draw, steps, spans, length):
    """Hide spans from the places with the highest draws, one by one."""
    mask = torch.zeros(len(draw), steps, dtype=torch.bool)
    for record, row in enumerate(draw.tolist()):
        for start in sorted(range(len(row)), key=row.__getitem__)[-spans:]:
            for step in range(start, start + length):
                mask[record, step] = True
    return mask


@settings(max_examples=200, deadline=None)
@given(
    batch=batches,
    steps=st.integers(2, 60),
    probability=st.floats(0, 1),
    length=st.integers(1, 30),
    seed=seeds,
)
def test_spans_have_their_length_and_number_and_leave_something_seen(
    batch, steps, probability, length, seed
):
    mask = span_mask(batch, steps, probability, length, generator(seed))
    check_form(mask, batch, steps)
    length = min(length, steps // 2)
    spans = min(max(round(probability * steps / length), 1), (steps - 1) // length)
    draw = torch.rand((batch, steps - length + 1), generator=generator(seed))
    assert torch.equal(mask, span_reference(draw, steps, spans, length))
    for row in mask:
        assert length <= row.sum() <= spans * length
        assert row.sum() < steps
        assert min(runs(row)) >= length
    assert torch.equal(mask, span_mask(batch, steps, probability, length, generator(seed)))


def test_the_published_numbers_of_speech_hide_half_of_the_steps():
    mask = span_mask(200, 780, 0.65, 10, generator())
    assert float(mask.float().mean()) == pytest.approx(0.49, abs=0.01)


@pytest.mark.parametrize("length", [1, 3])
def test_a_span_starts_equally_often_wherever_it_fits(length):
    mask = span_mask(RECORDS, 8, 0.0, length, generator())
    starts = mask.int().argmax(dim=1).bincount(minlength=8) / RECORDS
    places = 8 - length + 1
    assert (starts[:places] - 1 / places).abs().max() < 0.012
    assert (starts[places:] == 0).all()
    assert (mask.sum(dim=1) == length).all()


# Blocks


@settings(max_examples=100, deadline=None)
@given(
    batch=batches,
    steps=st.integers(1, 60),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    seed=seeds,
)
def test_a_block_is_one_piece_within_its_bounds(batch, steps, bounds, seed):
    low, high = bounds
    mask = block(batch, steps, (low, high), generator(seed))
    check_form(mask, batch, steps)
    for row in mask:
        (length,) = runs(row)
        assert max(low * steps - 0.51, 1) <= length <= max(high * steps + 0.51, 1)
    assert torch.equal(mask, block(batch, steps, (low, high), generator(seed)))


def test_the_length_and_the_place_of_a_block_are_uniform():
    mask = block(4 * RECORDS, 10, (0.15, 0.45), generator())
    length = mask.sum(dim=1)
    shares = length.bincount(minlength=5)[2:5] / len(length)
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.012, rtol=0)
    for size in (2, 3, 4):
        starts = mask[length == size].int().argmax(dim=1).bincount(minlength=10)
        places = 10 - size + 1
        shares = starts[:places] / starts.sum()
        assert (shares - 1 / places).abs().max() < 0.012
        assert (starts[places:] == 0).all()


# Both


@pytest.mark.parametrize("steps", [0, 1])
def test_a_record_too_short_to_hide_a_part_of_it_says_what_to_change(steps):
    with pytest.raises(BadInputError, match=r"augment\.crop_seconds"):
        random_mask(2, steps, 0.5, generator())
    with pytest.raises(BadInputError, match=r"augment\.crop_seconds"):
        span_mask(2, steps, 0.5, 1, generator())


@pytest.mark.parametrize(
    "draw",
    [
        lambda source: random_mask(64, 30, 0.5, source),
        lambda source: span_mask(64, 30, 0.5, 3, source),
        lambda source: block(64, 30, (0.2, 0.6), source),
    ],
    ids=["random", "span", "block"],
)
def test_records_batches_and_seeds_differ(draw):
    source = generator(0)
    first, second = draw(source), draw(source)
    assert not torch.equal(first, second)
    assert not torch.equal(first, draw(generator(1)))
    assert len(first.unique(dim=0)) > 32
