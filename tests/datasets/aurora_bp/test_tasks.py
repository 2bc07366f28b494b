import numpy as np
import pytest

from ecgscale.datasets.aurora_bp.tasks import Dbp, Sbp
from ecgscale.tasks.base import check_patient_disjoint


def measured(patient, **values):
    return {
        "patient_id": f"aurora-bp:{patient}",
        "measurements": list(values),
        "measured": list(values.values()),
    }


def test_the_baseline_is_predicted_not_the_measurement(make_records):
    records = make_records(
        [
            measured("a1", sbp=150.0, dbp=90.0, baseline_sbp=141.5, baseline_dbp=82.0),
            measured("a1", sbp=152.0, dbp=91.0),
            measured("a2", baseline_sbp=120.0, baseline_dbp=70.5),
        ]
    )
    assert Sbp.targets(records).y.tolist() == [[141.5], [120.0]]
    assert Dbp.targets(records).y.tolist() == [[82.0], [70.5]]
    assert list(Sbp.targets(records).rows) == [0, 2]
    assert (Sbp.metadata.unit, Dbp.metadata.unit) == ("mmHg", "mmHg")
    assert Sbp.metadata.main_metric == "mae"


@pytest.fixture(scope="module")
def many(make_records):
    return make_records(
        [measured(f"a{i // 2}", baseline_sbp=100.0, baseline_dbp=60.0) for i in range(2000)]
    )


def test_participants_are_dealt_70_15_15(many):
    targets = Sbp.targets(many)
    check_patient_disjoint("aurora-bp-sbp", targets)
    shares = {name: float(np.mean(targets.split == name)) for name in set(targets.split)}
    assert shares == {
        "train": pytest.approx(0.70, abs=0.04),
        "validation": pytest.approx(0.15, abs=0.03),
        "test": pytest.approx(0.15, abs=0.03),
    }


def test_the_split_depends_on_the_participant_alone(many):
    split = dict(zip(many["patient_id"], Sbp.targets(many).split, strict=True))
    part = many.iloc[::-3].reset_index(drop=True)
    targets = Dbp.targets(part)
    assert [split[patient] for patient in targets.patient_id] == list(targets.split)
