"""Correlation over published models, against slow references."""

from itertools import permutations

import numpy as np
import pytest
import scipy.stats

from ecgscale.literature import published_rows, read_literature
from ecgscale.scaling.published import across_models, associate, least_squares, spearman_of

SIZES = np.array([180.0, 189, 771, 800, 870, 9100, 10700, 10700])


@pytest.fixture(scope="module")
def across(project):
    found = across_models(published_rows(read_literature(project / "literature")))
    return {(one.results.task, one.readout): one for one in found}


def slow_p(sizes, values):
    """Two-sided permutation p, by scipy's coefficient of every order."""
    observed = abs(scipy.stats.spearmanr(sizes, values).statistic)
    null = [abs(scipy.stats.spearmanr(sizes, order).statistic) for order in permutations(values)]
    return np.mean([value >= observed - 1e-9 for value in null])


@pytest.mark.parametrize(
    ("sizes", "values"),
    [
        ([1, 2, 3, 4, 5], [0.7, 0.8, 0.75, 0.9, 0.95]),
        ([1, 2, 2, 4, 5], [0.9, 0.8, 0.8, 0.7, 0.75]),
        ([1, 1, 2, 2, 3], [0.5, 0.6, 0.5, 0.6, 0.5]),
    ],
)
def test_coefficient_and_p_are_those_of_every_permutation(sizes, values):
    found = associate(np.array(sizes, float), np.array(values))
    assert found.rho == pytest.approx(scipy.stats.spearmanr(sizes, values).statistic)
    assert found.p == pytest.approx(slow_p(sizes, values))


def test_the_smallest_p_and_the_coefficient_that_is_needed_are_those_of_the_table():
    """Exact critical values of Spearman's coefficient at 0.05: .886 of 6, .786 of 7, .738 of 8."""
    for n, needed in ((6, 0.886), (7, 0.786), (8, 0.738)):
        found = associate(np.arange(n, dtype=float), np.random.default_rng(n).random(n))
        assert found.needed == pytest.approx(needed, abs=5e-4)
        assert found.smallest_p == pytest.approx(2 / np.prod(np.arange(1.0, n + 1)))
    assert np.isnan(associate(np.arange(4.0), np.array([1.0, 3, 2, 4])).needed)


def test_of_many_models_random_orders_are_drawn_and_p_is_never_zero():
    found = associate(np.arange(12.0), np.arange(12.0))
    assert found.rho == pytest.approx(1)
    assert 0 < found.p <= 2e-5
    unordered = np.random.default_rng(3).random(12)
    exact = scipy.stats.spearmanr(np.arange(12.0), unordered)
    assert associate(np.arange(12.0), unordered).p == pytest.approx(exact.pvalue, abs=0.03)


def test_nothing_is_said_where_there_is_no_order():
    assert np.isnan(associate(np.ones(5), np.arange(5.0)).rho)
    assert np.isnan(associate(np.ones(5), np.arange(5.0)).p)
    assert np.isnan(spearman_of(np.arange(2.0), np.arange(2.0)))


def test_the_interval_of_eight_models_covers_about_as_often_as_it_says():
    """The population coefficient of normal pairs is 6/pi asin(r/2)."""
    rng = np.random.default_rng(0)
    for r in (0.0, 0.6):
        true, inside = 6 / np.pi * np.arcsin(r / 2), 0
        for _ in range(400):
            x, noise = rng.normal(size=(2, 5))
            found = associate(x, r * x + np.sqrt(1 - r * r) * noise)
            inside += not found.low > true and not found.high < true
        assert 0.92 < inside / 400 < 0.99


def test_the_slope_and_its_interval_are_those_of_a_regression():
    y = np.array([0.97, 0.95, 0.95, 0.92, 0.96, 0.94, 0.97, 0.96])
    slope, reach = least_squares(np.log2(SIZES), y, 0.95)
    reference = scipy.stats.linregress(np.log2(SIZES), y)
    assert slope == pytest.approx(reference.slope)
    assert reach == pytest.approx(reference.stderr * scipy.stats.t.ppf(0.975, 6))


def test_across_the_eight_published_models_there_is_no_correlation(across):
    """As first computed from the authors' own table, to the decimals that were published."""
    chapman = [
        across["Chapman, all labels", name].whole for name in ("finetune", "frozen", "linear")
    ]
    assert [found.n for found in chapman] == [8, 8, 8]
    assert [round(found.rho, 2) for found in chapman] == [0.04, -0.14, -0.24]
    assert min(found.p for found in chapman) > 0.56
    assert [round(found.low, 2) for found in chapman] == [-0.70, -0.78, -0.82]
    assert [round(found.high, 2) for found in chapman] == [0.73, 0.64, 0.58]
    assert len(across) == 18
    assert min(one.whole.p for one in across.values()) > 0.17
    assert max(abs(one.whole.rho) for one in across.values()) < 0.74


def test_one_model_and_the_exposed_ones_decide_the_sign(across):
    linear, finetuned = (across["Chapman, all labels", name] for name in ("linear", "finetune"))
    assert linear.range_without[0] == ("ECGFounder", pytest.approx(-0.75))
    assert finetuned.range_without[1][0] == "ECG-JEPA"
    for model, rho in linear.without.items():
        kept = [place for place, name in enumerate(linear.models) if name != model]
        sizes, values = np.array(linear.sizes)[kept], np.array(linear.values)[kept]
        assert rho == pytest.approx(scipy.stats.spearmanr(sizes, values).statistic)
    parts = finetuned.by_exposure
    assert {name: part.n for name, part in parts.items()} == {
        **{"seen": 3, "not seen": 4, "unclear": 1}
    }
    assert parts["not seen"].rho == pytest.approx(0.738, abs=1e-3)
    assert linear.by_exposure["not seen"].rho == pytest.approx(0.211, abs=1e-3)
    assert parts["not seen"].smallest_p > 0.05
