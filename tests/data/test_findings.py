"""What ingest says it found, against records whose content is known."""

import json

import numpy as np
import pytest
import yaml

from ecgscale.data.findings import Tally
from ecgscale.data.ingest import SUMMARY, ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.sources.settings import SourceConfig

TABLE = """file,pid,age,sex,dx
a,p1,40,F,AF;PACE
b,p1,42,F,AF
c,p2,80,M,
d,p3,,,NORM
"""


@pytest.fixture
def summary(tmp_path, write):
    root = tmp_path / "clinic"
    root.mkdir()
    names = ",".join(LEADS)
    for number, name in enumerate("abcd"):
        samples = write.beats(number).T
        np.savetxt(root / f"{name}.csv", samples, "%d", ",", header=names, comments="")
    (root / "e.csv").write_text(f"{names}\n")
    (root / "patients.csv").write_text(TABLE)
    table = {"path": "patients.csv", "record": "file", "patient": "pid", "age": "age"}
    described = {
        **{"format": "csv", "files": "?.csv", "fs": 100, "units": "uV", "leads": list(LEADS)},
        "table": {**table, "sex": "sex", "labels": "dx", "label_separator": ";"},
    }
    (root / "source.yaml").write_text(yaml.safe_dump(described))
    config = SourceConfig(reader="folder", root=root, max_quarantined=0.5)
    return ingest("clinic", config, Recipe(fs=100, seconds=2), tmp_path / "store")


def test_counts_are_those_of_the_stored_records(summary, tmp_path):
    found = summary.found
    assert (summary.stored, found.patients, found.rates) == (4, 3, {"100": 4})
    assert (found.leads, found.unknown_patients) == (LEADS, 0)
    ages = found.ages
    assert (ages.known, ages.median, ages.low, ages.high) == (3, 42, 40, 80)
    assert found.sexes == {"F": 2, "M": 1, "unknown": 1}
    assert (found.labels, found.label_codes) == ({"AF": 2, "NORM": 1, "PACE": 1}, 3)
    assert found.unlabelled == 1
    assert sum(summary.quarantined.values()) == 1
    assert json.loads((tmp_path / "store" / SUMMARY).read_text()) == summary.model_dump(mode="json")
    said = "\n".join(found.lines())
    for part in ("patients    3, ", "known for 3 records, median 42 (40 to 80)", "AF 2, NORM 1"):
        assert part in said


def test_amplitudes_are_in_millivolts_and_leave_z_scores_out():
    row = {"unit": "mV", "patient_id": "a", "seconds": 1.0, "fs_original": 100.0, "age": 5.0}
    row |= {"sex": None, "labels": [], "notes": ["12 samples cut to 32.7", "5 samples cut to 32.7"]}
    ramp = np.tile(np.arange(1001, dtype=np.int16), (12, 1))  # the central 99 % of 0 to 1000 steps
    tally = Tally()
    tally.add(row, ramp)
    tally.add(row, 3 * ramp)
    tally.add({**row, "unit": "z"}, 30 * ramp)
    found = tally.findings([row, row], ("I",))
    assert found.amplitude.known == 2
    assert found.amplitude.median == pytest.approx(0.99 * 2, rel=1e-6)
    assert found.notes == {"# samples cut to #": 2}
    stranger = tally.findings([row, {**row, "patient_id": "x:?r1"}], ("I",))
    assert (stranger.patients, stranger.unknown_patients) == (2, 1)
    assert "patients    2 (of whom 1 are recordings of unknown patients)" in stranger.lines()[0]
    nothing = Tally().findings([], ("I",))
    assert (nothing.amplitude, nothing.ages, nothing.labels) == (None, None, {})
    assert "not in mV" in "\n".join(nothing.lines())
