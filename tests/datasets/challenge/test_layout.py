"""The Challenge's simulated layout: headers, split lists and case mix as published."""

import csv
from importlib.resources import files

import numpy as np
import pytest
import wfdb

from ecgscale.data.simulate import CONDITIONS, cohort_options, simulate
from ecgscale.data.simulate.population import draw_patient, draw_state, liability_thresholds, stream
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.datasets.challenge.statements import case_mix


def challenge(patients):
    return CohortSettings(layout="challenge", patients=patients, seed=3, options={"fs": 100})


@pytest.fixture(scope="module")
def challenge_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohorts") / "challenge"
    simulate(challenge(600), root)
    return root


def test_the_case_mix_names_every_condition():
    assert list(case_mix()) == [condition.name for condition in CONDITIONS]


def test_split_lists_are_disjoint_complete_and_follow_the_headers(challenge_root):
    table = csv.DictReader(files("ecgscale.datasets.challenge").joinpath("csn_labels.csv").open())
    snomed = {row["acronym"]: row["snomed"] for row in table} | {"SB": "426177001"}
    names = (challenge_root / "RECORDS").read_text().split()
    assert len(names) == 600
    seen, sizes = set(), {}
    for split in ("train", "val", "test"):
        rows = list(csv.DictReader((challenge_root / f"csn-split/chapman_{split}.csv").open()))
        sizes[split] = len(rows)
        for row in rows:
            path = row["ecg_path"].removeprefix("/chapman/")
            assert path not in seen
            seen.add(path)
            acronyms = row["diagnose"].split(",")
            assert len(row) == 41
            assert all(int(row[a]) == 1 for a in acronyms if a in row)
            marked = {a for a in snomed if row.get(a) == "1"}
            assert marked == {a for a in snomed if a in row and a in row["diagnose"]}
            comments = wfdb.rdheader(str(challenge_root / path[:-4])).comments
            fields = dict(c.split(": ", 1) for c in comments)
            assert set(fields["Dx"].split(",")) == {snomed[a] for a in acronyms}
            assert 18 <= int(fields["Age"]) <= 98
            assert fields["Sex"] in ("Male", "Female")
    assert {name + ".mat" for name in names} == seen
    assert sizes["train"] == pytest.approx(600 * 16546 / 23026, abs=2)
    assert sizes["test"] == pytest.approx(600 * 4620 / 23026, abs=2)


def test_every_csn_label_is_drawn_and_common_ones_reach_ten_test_positives():
    """States alone are enough: labels follow from them, so no signal is made."""
    mix = case_mix()
    options = cohort_options(challenge(1))
    thresholds = liability_thresholds(options)
    margins = np.array(
        [
            draw_state(draw_patient(i, 0, options), options, thresholds, stream(0, 1, i, 0)).margin
            for i in range(3000)
        ]
    )
    counts = (margins > 0).sum(axis=0)
    drawn = {c.name: n for c, n in zip(CONDITIONS, counts, strict=True) if mix[c.name] > 0}
    assert min(drawn.values()) >= 1
    assert sum(n >= 50 for n in drawn.values()) >= 12
    for c in CONDITIONS:
        if mix[c.name] >= 0.02:
            assert drawn[c.name] == pytest.approx(3000 * mix[c.name], rel=0.5)
