"""The page of one's own folder: every description on it reads files of its kind."""

import re

import numpy as np
import pandas as pd
import pytest
import yaml

from ecgscale.data.sources import sources
from support.dicom import CODES, group, write_dicom

EDF_HEADER = "{:8}{:80}{:80}01.02.10{:8}{:<8}{:44}{:<8}{:<8}{:<4}"


@pytest.fixture(scope="module")
def described(project):
    """Format to the description on the page."""
    page = (project / "docs" / "datasets" / "folder.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.S)]
    return {block["format"]: block for block in blocks}


def read(root, described):
    (root / "source.yaml").write_text(yaml.safe_dump(described))
    (record,) = sources.get("folder")(root, "own", {}).iter_records()
    return record


def write_edf(path, samples, label):
    """One signal of 1 uV a step and 100 Hz, field by field from the standard."""
    path.parent.mkdir()
    patient, day = "X F 03-FEB-1950 X", "Startdate 01-FEB-2010 X X X"
    head = EDF_HEADER.format("0", patient, day, "09.00.00", 512, "EDF+C", 1, 1, 1)
    fields = (label, "", "uV", -32768, 32767, -32768, 32767, "", len(samples), "")
    widths = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
    head += "".join(f"{each:<{width}}" for each, width in zip(fields, widths, strict=True))
    path.write_bytes(head.encode() + samples.astype("<i2").tobytes())


def test_edf(tmp_path, described):
    samples = np.arange(100)
    write_edf(tmp_path / "p7" / "x.edf", samples, "EKG")
    record = read(tmp_path, described["edf"])
    np.testing.assert_allclose(record.signal, [samples / 1000], rtol=1e-6, atol=1e-9)
    assert (record.leads, record.patient_id, record.fs) == (("II",), "own:p7", 100)
    assert (record.age, record.sex) == (59, "F")


def test_dicom(tmp_path, described):
    samples = np.arange(1200).reshape(12, 100)
    made = group(samples, [(code, "") for code in CODES])
    write_dicom(tmp_path / "a" / "17", [made], PatientAge="018M", PatientSex="F")
    (tmp_path / "patients.csv").write_text("file,pid\na/17,p3\n")
    record = read(tmp_path, described["dicom"])
    np.testing.assert_allclose(record.signal, samples / 1000, rtol=1e-6)
    assert (record.patient_id, record.age, record.sex) == ("own:p3", 1.5, "F")


def test_wfdb(tmp_path, described, write):
    write.wfdb(tmp_path / "p1", "x", write.beats(0))
    record = read(tmp_path, described["wfdb"])
    assert (record.patient_id, record.age, record.sex) == ("own:p1", 50, "F")


def test_csv(tmp_path, described):
    folder = tmp_path / "ecg" / "p1"
    folder.mkdir(parents=True)
    pd.DataFrame({"ch3": [3.0], "ch1": [1.0], "ch2": [2.0]}).to_csv(folder / "x.csv", index=False)
    row = {"file": "x", "age": 50, "sex": "M", "diagnoses": "AF|PVC", "split": "val", "lvef": 60}
    pd.DataFrame([row]).to_csv(tmp_path / "patients.csv", index=False)
    record = read(tmp_path, described["csv"])
    np.testing.assert_allclose(record.signal[:, 0], [0.001, 0.002, 0.003], rtol=1e-6)
    assert (record.patient_id, record.split, record.age) == ("own:p1", "validation", 50)
