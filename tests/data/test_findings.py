"""What ingest says it found, against records whose content is known."""

import json

import numpy as np
import pytest
import yaml

from ecgscale.data.findings import findings
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


def test_amplitudes_notes_and_unknown_patients_are_counted():
    row = {"patient_id": "a", "seconds": 1.0, "fs_original": 100.0, "age": 5.0, "sex": None}
    row |= {"labels": [], "notes": ["12 samples cut to 32.7", "5 samples cut to 32.7"]}
    amplitudes = [0.8, 1.0, 1.2, None]
    rows = [{**row, "amplitude": amplitude} for amplitude in amplitudes]
    found = findings(rows, ("I",), ("all is well",))
    assert (found.amplitudes.records, found.amplitudes.median) == (3, 1.0)
    assert found.notes == {"# samples cut to #": 4}
    said = found.lines()
    assert "median 1.00 mV (98 % of records: 0.80 to 1.20)" in "\n".join(said)
    assert said[-1] == "source      all is well"
    stranger = findings([rows[0], {**rows[0], "patient_id": "x:?r1"}], ("I",))
    assert (stranger.patients, stranger.unknown_patients) == (2, 1)
    assert "patients    2 (of whom 1 are recordings of unknown patients)" in stranger.lines()[0]
    nothing = findings([], ("I",))
    assert (nothing.amplitudes.median, nothing.ages, nothing.labels) == (None, None, {})
    assert "not in mV" in "\n".join(nothing.lines())
