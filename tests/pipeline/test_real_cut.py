"""The study on real recordings, cut down: the same file, the same code, less of everything."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(900)]


def cut(study, recordings):
    study["study"]["name"] = "real-cut"
    for pooled in ("ptb-xl-zscored", "cinc2011"):  # tests/data/test_real_recordings.py reads them
        del study["sources"][pooled], study["pool"][pooled]
    for source in study["sources"].values():
        folder = recordings / Path(source["root"]).name
        source.update(root=str(folder), watch=str(folder))
    study["grid"].update(
        objectives=["clef"],
        sizes=[16, 32, 64],
        replicates=[{"order": 0, "seed": 0}],
        labelled=[],
        controls=["random"],
    )
    study["training"].update(steps=8, batch_size=16, monitor_every=8, log_every=2)
    study["evaluation"].update(tasks=["ptb-xl-superdiagnostic"], bootstrap=50)
    study["report"].update(permutations=200, bootstrap=200)
    study["tune"].update(sizes=[16])


@pytest.fixture(scope="module")
def real(checkout, project, recordings):
    """The cut, run from nothing by one command."""
    made = checkout()
    study = yaml.safe_load((project / "studies" / "ptb-xl.yaml").read_text())
    cut(study, recordings)
    (made.root / "studies").mkdir()
    (made.root / "studies" / "small.yaml").write_text((made.root / "params.yaml").read_text())
    (made.root / "studies" / "cut.yaml").write_text(yaml.safe_dump(study))
    made.run("repro", "--study", "studies/cut.yaml", "--jobs", "1")
    return made


def test_real_recordings_give_a_report(real):
    assert "clef" in (real.root / "reports" / "answer.txt").read_text()
    runs = pd.read_csv(real.root / "reports" / "runs.csv")
    assert sorted(runs[runs["objective"] == "clef"]["size"]) == [16, 32, 64]
    assert runs["macro_auroc"].between(0, 1).all()
    assert (runs["labels_used"] == 5).all()


def test_nothing_is_lost_silently(real):
    lost = {}
    for store in (real.root / "data" / "store").iterdir():
        quarantine = pd.read_parquet(store / "quarantine.parquet")
        lost[store.name] = dict(zip(quarantine["record_id"], quarantine["reason"], strict=True))
    assert lost["chapman-shaoxing"] == {}
    assert lost["ningbo"] == dict.fromkeys(("JS11438", "JS20004", "JS20008"), "flat-lead")
    assert lost["georgia"] == lost["ptb-xl"] == {}


def test_no_patient_of_validation_or_test_was_pretrained_on(real):
    targets = pd.read_parquet(real.root / "data" / "tasks" / "ptb-xl-superdiagnostic.parquet")
    held_out = set(targets[targets["split"] != "train"]["patient_id"])
    assert held_out
    for size in (16, 32, 64):
        records = pd.read_parquet(
            real.root / "data" / "subsets" / f"n{size}" / "o0" / "records.parquet"
        )
        assert records["patient_id"].nunique() == size
        assert not held_out & set(records["patient_id"])
