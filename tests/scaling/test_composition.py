"""What subsets are made of."""

import math

import pytest

from ecgscale.data.subsets import SubsetManifest
from ecgscale.scaling.composition import compositions


def manifest(order, size, women, young, near=0):
    return SubsetManifest(
        **{"size": size, "order": order, "patients": size, "unknown_patients": 0},
        **{"records": size, "hours": 1.0, "digest": "0" * 64, "pool_patients": 999},
        **{"pool_records": 999, "excluded_patients": 0, "stores": {}, "parent": None},
        sources={"far": size - near, "near": near} if near else {"far": size},
        sex={"F": women, "M": size - women - 10, "unknown": 10},
        age={"30-39": young, "70-79": size - young},
    )


def test_trends_of_age_sex_and_source_are_over_orders():
    drift = [
        *(
            manifest(0, 100 * 2**step, 30 + 0 * step, 50 * 2**step, 10 * 2**step)
            for step in range(3)
        ),
        *(manifest(1, 100 * 2**step, 36, 30 * 2**step, 20 * 2**step) for step in range(3)),
    ]
    parts = {part.name: part for part in compositions(drift, 0.95)}
    age = parts["mean age"]
    assert age.values.tolist() == [[55, 55, 55], [63, 63, 63]]
    assert age.trend.value == pytest.approx(0)
    women = parts["share of women"]
    assert women.values[0].tolist() == pytest.approx([30 / 90, 30 / 190, 30 / 390])
    assert women.trend.value == pytest.approx((30 / 390 - 30 / 90 + 36 / 390 - 36 / 90) / 4)
    assert women.trend.low < women.trend.value < women.trend.high
    assert parts["share of near"].values.tolist() == [[0.1] * 3, [0.2] * 3]
    assert parts["sex unknown"].values[0].tolist() == [0.1, 0.05, 0.025]


def test_what_not_all_orders_have_is_left_out():
    some = [manifest(0, 100, 30, 50), manifest(0, 200, 30, 50), manifest(1, 200, 30, 50)]
    assert compositions(some, 0.95) == []
    one = {part.name: part for part in compositions(some[:2], 0.95)}
    assert math.isnan(one["mean age"].trend.low)
    assert set(one) == {"mean age", "age unknown", "share of women", "sex unknown"}
