import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ecgscale.errors import BadInputError
from ecgscale.evaluation.bootstrap import interval
from ecgscale.evaluation.metrics.functions import auroc, included_labels, macro
from ecgscale.evaluation.metrics.macro_auroc import bootstrap_auroc
from ecgscale.evaluation.metrics.mae import bootstrap_mae, mean_absolute_error
from ecgscale.runs.record import DatasetInput, RunRecord, result_path
from ecgscale.scaling.cells import compare, difference_table, replicates_of
from ecgscale.scaling.variance import contrast_estimate

N, RESAMPLES = 200, 300
PATIENTS = [f"p{number // 2:03d}" for number in range(N)]
RNG = np.random.default_rng(0)
Y = (RNG.random((N, 2)) < 0.3).astype(np.float32)
VALUE = RNG.normal(55, 10, (N, 1))
SHARED, SHARED_ERROR = 1.5 * RNG.normal(size=Y.shape), 8 * RNG.normal(size=VALUE.shape)


def make_record(name: str, skill: float, **changes: Any) -> RunRecord:
    """A cell with one classification at two protocols, and one regression."""
    rng = np.random.default_rng(int(name))
    scores = skill * Y + SHARED + 0.3 * rng.normal(size=Y.shape)
    predicted = VALUE + SHARED_ERROR / (1 + skill)
    included = included_labels(Y, 10)
    common = {"resamples": RESAMPLES, "seed": 0}
    replicates = bootstrap_auroc(Y, scores, PATIENTS, included, **common).metric
    errors = bootstrap_mae(VALUE, predicted, PATIENTS, **common)
    area = macro(auroc(Y, scores), included)
    rows = [{"name": f"l{k}", "included": bool(included[k])} for k in range(2)]
    entry = {"metric": "macro_auroc", "labels": rows, "replicates": replicates.tolist()}
    tasks = {
        "cls": entry,
        "cls@knn": entry | {"replicates": (replicates - 0.1).tolist()},
        "reg": {"metric": "mae", "labels": [], "replicates": errors.tolist()},
    }
    settings: dict[str, Any] = {
        "phase": "evaluate",
        "study": "made-up",
        "cell": f"clef/net1d/n100-o0-s{name}",
        "axes": {},
        "params": {"bootstrap_seed": 0},
        "metrics": {
            "cls.macro_auroc": area,
            "cls@knn.macro_auroc": area - 0.1,
            "reg.mae": mean_absolute_error(VALUE, predicted),
        },
        "inputs": [
            DatasetInput(name=task, digest=f"d-{task}", context="test", source="x")
            for task in ("cls", "reg")
        ],
        "details": {"tasks": tasks},
        "started": "now",
        "ended": "now",
    }
    return RunRecord(**(settings | changes))


def test_differences_are_paired_resample_by_resample():
    first, second = make_record("1", 2.5), make_record("2", 1.0)
    found = {row.endpoint: row for row in compare([first], [second])}
    assert list(found) == ["cls", "cls@knn", "reg"]
    assert [row.metric for row in found.values()] == ["macro_auroc", "macro_auroc", "mae"]
    for endpoint, row in found.items():
        ones, others = (
            np.array(record.details["tasks"][endpoint]["replicates"]) for record in (first, second)
        )
        assert (row.low, row.high) == interval(ones - others)
        assert row.resamples == RESAMPLES
        assert row.first == first.metrics[f"{endpoint}.{row.metric}"]
        assert row.difference == pytest.approx(row.first - row.second)
        assert row.low < row.difference < row.high
        width = sum(np.subtract(*interval(part)[::-1]) for part in (ones, others))
        assert row.high - row.low < 0.8 * width, "the patients are the same"
    assert found["cls"].low > 0, "more skill, more AUROC"
    assert found["reg"].high < 0, "and less error"


def test_the_sign_turns_with_the_order_and_a_cell_equals_itself():
    first, second = make_record("1", 2.5), make_record("2", 1.0)
    there, back = compare([first], [second]), compare([second], [first])
    for one, other in zip(there, back, strict=True):
        assert one.difference == -other.difference
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert all(
        (row.low, row.difference, row.high) == (0, 0, 0) for row in compare([first], [first])
    )


def test_records_as_they_are_read_from_disk(tmp_path: Path):
    second = make_record("2", 1.0)
    second.details["tasks"]["reg"]["replicates"] = [math.nan] * RESAMPLES
    second.write(tmp_path / "cell.json")
    rows = compare([make_record("1", 2.5)], [RunRecord.read(tmp_path / "cell.json")])
    assert rows[0].low > 0
    assert math.isnan(rows[2].low)
    assert math.isnan(rows[2].high)


def test_only_shared_endpoints_and_shared_resamples_are_compared():
    first, second = make_record("1", 2.5), make_record("2", 1.0)
    del second.details["tasks"]["cls@knn"]
    replicates = second.details["tasks"]["reg"]["replicates"]
    second.details["tasks"]["reg"]["replicates"] = replicates[:100]
    rows = compare([first], [second])
    assert [(row.endpoint, row.resamples) for row in rows] == [("cls", RESAMPLES), ("reg", 100)]
    ones = np.array(first.details["tasks"]["reg"]["replicates"][:100])
    assert (rows[1].low, rows[1].high) == interval(ones - np.array(replicates[:100]))
    second.details["tasks"] = {"other": second.details["tasks"]["cls"]}
    with pytest.raises(BadInputError, match="share no endpoint"):
        compare([first], [second])


def other_digest(record: RunRecord) -> None:
    record.inputs[1].digest = "another table"


def other_labels(record: RunRecord) -> None:
    record.details["tasks"]["cls@knn"]["labels"] = [{"name": "l0", "included": True}]


def other_seed(record: RunRecord) -> None:
    record.params["bootstrap_seed"] = 1


def no_digest(record: RunRecord) -> None:
    record.inputs.pop(0)


def no_replicates(record: RunRecord) -> None:
    del record.details["tasks"]["cls"]["replicates"]


def other_phase(record: RunRecord) -> None:
    record.phase = "pretrain"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_digest, "reg cannot be compared: .*s1 and .*s2 .*different test examples"),
        (other_labels, "cls@knn cannot be compared: .*different labels"),
        (other_seed, "cls cannot be compared: .*different resamples"),
        (no_digest, "s2 does not say on which examples of cls"),
        (no_replicates, "s2 has no replicates of cls: evaluate it again"),
        (other_phase, "s2 is a run of phase pretrain"),
    ],
)
def test_what_does_not_belong_together_is_refused(spoil, message):
    second = make_record("2", 1.0)
    spoil(second)
    with pytest.raises(BadInputError, match=message):
        compare([make_record("1", 2.5)], [second])


def replicates(objective: str, skill: float, size: int = 100, blocks=((0, 0), (1, 1), (2, 2))):
    """Records of one objective at one size, whose skill differs between replicates."""
    return [
        make_record(
            str(order + 3 * seed), skill + 0.3 * order, cell=f"{objective}/e/n{size}-{name}"
        )
        for order, seed in blocks
        for name in [f"o{order}-s{seed}"]
    ]


def test_replicates_of_both_are_paired_and_the_interval_covers_them():
    ones, others = replicates("clef", 2.0), replicates("simclr", 1.0)
    row = compare(ones, others)[0]
    by_pair = [compare([a], [b])[0] for a, b in zip(ones, others, strict=True)]
    assert row.first == pytest.approx(np.mean([pair.first for pair in by_pair]))
    assert row.difference == pytest.approx(np.mean([pair.difference for pair in by_pair]))
    assert (row.pairs, row.covers) == (3, "orders, seeds and test patients")
    drawn = [
        np.subtract(*(np.array(r.details["tasks"]["cls"]["replicates"]) for r in pair))
        for pair in zip(ones, others, strict=True)
    ]
    values = np.array([pair.difference for pair in by_pair])
    expected = contrast_estimate(values, np.array(drawn).T, [(0, 0), (1, 1), (2, 2)], 0.95)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    assert compare(ones[::-1], others)[0].low == pytest.approx(row.low)


def test_another_order_of_the_same_is_not_taken_for_a_difference():
    ones = replicates("clef", 2.0)
    row = compare(ones, ones[::-1])[0]
    assert (row.pairs, row.covers) == (1, "test patients, of these two runs only")
    apart = compare([make_record("1", 2.5)], [make_record("2", 1.0)])[0]
    assert apart.low > 0
    assert not apart.established


def test_controls_are_paired_by_replicate_and_foreign_encoders_with_all():
    ones = replicates("clef", 2.0, blocks=((0, 0), (1, 0), (0, 1), (1, 1)))
    random = replicates("random", 0.5, size=0, blocks=((0, 0), (1, 1)))
    row = compare(ones, random)[0]
    assert (row.pairs, row.covers) == (2, "orders, seeds and test patients")
    metrics = [r.metrics["cls.macro_auroc"] for r in random]
    assert row.second == pytest.approx(np.mean(metrics))
    foreign = compare(ones[:2], [make_record("9", 1.0, cell="external/other")])[0]
    assert (foreign.pairs, foreign.covers) == (2, "orders and test patients, of one seed")
    assert compare(random, [make_record("9", 1.0, cell="baseline/age-sex")])[0].pairs == 2


def test_replicates_are_found_beside_the_cell(tmp_path: Path):
    for record in [*replicates("clef", 2.0), *replicates("clef", 2.0, size=1000)]:
        record.write(result_path(tmp_path, "evaluate", record.cell))
    found = replicates_of("clef/e/n100-o1-s1", tmp_path)
    names = [record.cell.rpartition("/")[2] for record in found]
    assert names == ["n100-o1-s1", "n100-o0-s0", "n100-o2-s2"]


def test_the_table_says_what_is_covered_and_marks_what_holds_for_other_runs():
    ones, others = replicates("clef", 3.0), replicates("simclr", 0.5)
    console = Console(file=io.StringIO(), width=200)
    console.print(difference_table(ones[0], others[0], compare(ones, others)))
    console.print(difference_table(ones[0], others[0], compare(ones[:1], others[:1])))
    text = console.file.getvalue()
    several, one = text.split("first: ")[1:]
    assert "simclr/e/n100-o0-s0" in several
    assert "means over 3 replicates of both" in several
    lines = {line.split()[1]: line for line in several.splitlines() if "│" in line}
    assert list(lines) == ["cls", "cls@knn", "reg"]
    row = compare(ones, others)[0]
    assert row.low > 0
    shown = (f"{row.first:.4g}", f"{row.difference:+.4f}*", f"{row.low:+.4f} to", "300", row.covers)
    for text in shown:
        assert text in lines["cls"]
    assert "test patients, of these two runs only" in one
    assert "*" not in one


def test_resamples_of_different_schemes_are_not_paired():
    first, second = make_record("1", 2.5), make_record("2", 1.0)
    for entry in first.details["tasks"].values():
        entry["resampling"] = "weights by seed and patient"
    with pytest.raises(
        BadInputError, match=r"cls cannot be compared: .*scheme not recorded"
    ) as told:
        compare([first], [second])
    assert "evaluate both again" in str(told.value)
    assert str(told.value).count("\n") == 0
    for entry in second.details["tasks"].values():
        entry["resampling"] = "weights by seed and patient"
    assert compare([first], [second])[0].low > 0
