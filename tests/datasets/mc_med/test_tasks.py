import numpy as np
import pytest

from ecgscale.datasets.mc_med.tasks import Acuity, Dbp, DischargeDisposition, EdDisposition, Sbp

COUNTED = {
    "Home/Work": "home",
    "Left Against Medical Advice": "home",
    "Home Health Services": "care-facility",
    "Skilled Nursing Facility": "care-facility",
    "Residential Care Facility": "care-facility",
    "Custodial or Supportive Care Facility": "care-facility",
    "Skilled Nursing Facility- Planned Inpatient Readmit": "care-facility",
    "ValleyCare Skilled Nursing Facility": "care-facility",
    "Acute Care Hospital": "hospital-transfer",
    "Acute Care Hospital - Planned inpatient readmission": "hospital-transfer",
    "Psychiatric Hospital - Planned inpatient readmission": "hospital-transfer",
    "Expired": "end-of-life",
    "Expired. Organ Harvest Complete": "end-of-life",
    "Expired to be Readmitted as Donor": "end-of-life",
    "Hospice/Home": "end-of-life",
    "Psychiatric Hospital": "psychiatric-or-rehabilitation",
    "Inpatient Rehabilitation Facility": "psychiatric-or-rehabilitation",
    "No Disposition": "other",
    "Jail": "other",
}


def visit(*codes, split="train", **changes):
    return {"labels": list(codes), "split": split, **changes}


def named(task, targets):
    names = task.metadata.label_names
    assert (targets.y.sum(axis=1) == 1).all()
    return [names[column] for column in targets.y.argmax(axis=1)]


@pytest.mark.parametrize("statement", COUNTED)
def test_discharge_dispositions_are_grouped_by_their_phrases(make_records, statement):
    code = f"discharge-disposition:{statement}"
    records = make_records([visit("ed-disposition:Discharge"), visit(code, "acuity:3")])
    targets = DischargeDisposition.targets(records)
    assert list(targets.rows) == [1]
    assert named(DischargeDisposition, targets) == [COUNTED[statement]]


def test_other_ed_dispositions_are_left_out(make_records):
    words = ("ICU", "Discharge", "Transfer", "Inpatient", "Observation")
    records = make_records([visit(f"ed-disposition:{word}") for word in words])
    targets = EdDisposition.targets(records)
    assert list(targets.rows) == [0, 1, 3, 4]
    assert named(EdDisposition, targets) == ["icu", "discharge", "inpatient", "observation"]


def test_acuity_is_one_of_five_levels(make_records):
    records = make_records([visit(f"acuity:{level}") for level in (5, 1, 2, 6, 3, 4, "Unknown")])
    targets = Acuity.targets(records)
    assert list(targets.rows) == [0, 1, 2, 4, 5]
    levels = [name.split("-")[0] for name in named(Acuity, targets)]
    assert levels == ["5", "1", "2", "3", "4"]


def test_pressures_are_in_mmhg(make_records):
    both = {"measurements": ["sbp", "dbp"], "measured": [141.0, 82.0]}
    one = {"measurements": ["dbp"], "measured": [60.0]}
    records = make_records([visit(**both), visit(**one, split="test"), visit()])
    assert Sbp.targets(records).y.tolist() == [[141.0]]
    assert Dbp.targets(records).y.tolist() == [[82.0], [60.0]]
    assert Sbp.metadata.unit == "mmHg"


@pytest.mark.parametrize(
    ("task", "row"),
    [
        (EdDisposition, {"labels": ["ed-disposition:ICU"]}),
        (DischargeDisposition, {"labels": ["discharge-disposition:Expired"]}),
        (Acuity, {"labels": ["acuity:1"]}),
        (Sbp, {"measurements": ["sbp"], "measured": [120.0]}),
    ],
)
def test_only_visits_of_the_published_split_are_taken(make_records, task, row):
    splits = ["validation", None, "test", "train"]
    targets = task.targets(make_records([{**row, "split": split} for split in splits]))
    assert list(targets.rows) == [0, 2, 3]
    assert list(targets.split) == ["validation", "test", "train"]
    assert targets.y.dtype == np.float32
