import numpy as np
import pytest

from ecgscale.datasets.mimic_iv_ecg.tasks import LowLvef, Lvef
from ecgscale.tasks.base import check_patient_disjoint


def echo(value, **changes):
    label = [] if not 5 <= value <= 100 else ["lvef:<50" if value < 50 else "lvef:>=50"]
    return {"labels": label, "measurements": ["lvef"], "measured": [value], **changes}


def test_recordings_with_a_plausible_ejection_fraction_are_taken(make_records):
    rows = [echo(55.0), echo(30.0), {}, echo(7065.0), echo(0.55), echo(50.0), echo(5.0)]
    records = make_records(rows)
    for task in (Lvef, LowLvef):
        assert list(task.targets(records).rows) == [0, 1, 5, 6]
    assert Lvef.targets(records).y.tolist() == [[55.0], [30.0], [50.0], [5.0]]
    assert LowLvef.targets(records).y.tolist() == [[0.0], [1.0], [0.0], [1.0]]


def test_both_tasks_share_a_split_by_patient(make_records):
    rng = np.random.default_rng(0)
    rows = [
        echo(float(rng.integers(10, 80)), patient_id=f"mimic:{rng.integers(400)}")
        for _ in range(1000)
    ]
    records = make_records(rows)
    targets = Lvef.targets(records)
    np.testing.assert_array_equal(targets.split, LowLvef.targets(records).split)
    check_patient_disjoint("mimic-lvef", targets)
    patients = {split: set(targets.patient_id[targets.split == split]) for split in targets.split}
    total = sum(map(len, patients.values()))
    assert len(patients["validation"]) / total == pytest.approx(0.1, abs=0.05)
    assert len(patients["test"]) / total == pytest.approx(0.1, abs=0.05)


def test_a_patient_stays_in_its_split_when_others_come_and_go(make_records):
    rows = [echo(40.0, patient_id=f"mimic:{number}") for number in range(50)]
    everyone = Lvef.targets(make_records(rows)).split
    np.testing.assert_array_equal(Lvef.targets(make_records(rows[10:30])).split, everyone[10:30])
