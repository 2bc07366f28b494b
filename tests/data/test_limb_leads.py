"""Limb leads against each other: what is consistent passes, what cannot be is said."""

from itertools import combinations

import numpy as np
import pytest

from ecgscale.data.limb_leads import TOLERANCE, contradictions, differences

LIMB = ("I", "II", "III", "aVR", "aVL", "aVF")


@pytest.fixture
def limb(write):
    return write.beats(4, fs=500)[:6] / 1000.0


def test_consistent_leads_pass_whatever_their_offsets_and_rounding(limb):
    assert max(differences(limb, LIMB).values()) < 0.01
    assert contradictions(limb + np.arange(6)[:, None], LIMB) == ()
    assert contradictions(np.round(limb, 2), LIMB) == ()


@pytest.mark.parametrize("swapped", list(combinations(range(6), 2)))
def test_swapped_leads_are_found(limb, swapped):
    order = np.arange(6)
    order[list(swapped)] = swapped[::-1]
    (note,) = contradictions(limb[order], LIMB)
    assert note.startswith("not what follows from leads I and II: ")


def test_the_note_names_the_leads_and_by_how_much(limb):
    limb[2] *= 3
    scale = np.sqrt(np.mean(limb.var(axis=1)))
    expected = 2 / 3 * limb[2].std() / scale
    assert differences(limb, LIMB)["III"] == pytest.approx(expected, rel=0.05)
    assert differences(limb[:, :900], LIMB)["III"] > TOLERANCE
    (note,) = contradictions(limb, LIMB)
    assert (
        note
        == f"not what follows from leads I and II: III ({differences(limb, LIMB)['III']:.0%} off)"
    )


def test_what_cannot_be_compared_says_nothing(limb):
    assert differences(limb[1:], LIMB[1:]) == {}
    assert differences(limb[:, :0], LIMB) == {}
    assert differences(np.full_like(limb, np.nan), LIMB) == {}
    assert list(differences(limb[[5, 1, 0]], ("aVF", "II", "I"))) == ["aVF"]
    limb[2] = 0.7
    assert list(differences(limb, LIMB)) == ["aVR", "aVL", "aVF"], "a constant lead is its own note"
    limb[0] = 0.0
    assert differences(limb, LIMB) == {}


def test_missing_samples_are_passed_over(limb):
    whole = differences(limb, LIMB)
    limb[3, 1000:2000] = np.nan
    assert differences(limb, LIMB)["III"] == pytest.approx(whole["III"], rel=0.5)
