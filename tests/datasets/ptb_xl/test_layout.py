"""PTB-XL's simulated layout: the tables and folders as published."""

import ast
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
import wfdb

from ecgscale.data.simulate import simulate
from ecgscale.data.simulate.settings import CohortSettings


def ptb(patients, **options):
    return CohortSettings(layout="ptb-xl", patients=patients, seed=3, options=options)


@pytest.fixture(scope="module")
def ptb_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohorts") / "ptb"
    simulate(ptb(600), root)
    return root


@pytest.fixture(scope="module")
def database(ptb_root):
    return pd.read_csv(ptb_root / "ptbxl_database.csv")


def test_the_ptb_xl_table_is_as_published(ptb_root, database):
    published = files("ecgscale.datasets.ptb_xl").joinpath("scp_statements.csv").read_bytes()
    assert (ptb_root / "scp_statements.csv").read_bytes() == published
    known = set(pd.read_csv(ptb_root / "scp_statements.csv", index_col=0).index)
    assert len(known) == 71
    assert list(database.ecg_id) == list(range(1, len(database) + 1))
    for row in database.itertuples():
        codes = ast.literal_eval(row.scp_codes)
        assert set(codes) <= known
        assert all(0 <= likelihood <= 100 for likelihood in codes.values())
        assert (ptb_root / f"{row.filename_lr}.dat").stat().st_size == 24_000
    assert set(database.sex) == {0, 1}
    ages = database.age
    assert ((ages >= 18) & (ages <= 89) | (ages == 300)).all()
    assert (ages == 300).any()


def test_folds_are_patient_disjoint_and_balanced(database):
    assert database.groupby("patient_id").strat_fold.nunique().max() == 1
    assert (database.patient_id.value_counts() > 1).sum() > 20
    sizes = database.strat_fold.value_counts()
    assert set(sizes.index) == set(range(1, 11))
    assert sizes.max() < 1.35 * sizes.min()
    for code in ("NORM", "IMI", "AFIB"):
        share = database[database.scp_codes.str.contains(f"'{code}'")].strat_fold.value_counts()
        assert len(share) == 10
        assert share.max() <= 4 * share.min()


def test_records500_and_records100_show_the_same_signal(tmp_path):
    simulate(ptb(2, records500=True), tmp_path / "c")
    slow = wfdb.rdrecord(str(tmp_path / "c/records100/00000/00001_lr"))
    fast = wfdb.rdrecord(str(tmp_path / "c/records500/00000/00001_hr"))
    assert fast.p_signal.shape == (5000, 12)
    spectrum = np.fft.rfft(fast.p_signal, axis=0)[:501]
    spectrum[451:] = 0
    smooth = np.fft.irfft(spectrum, 1000, axis=0) / 5
    inner = slice(100, -100)
    assert np.abs(smooth[inner] - slow.p_signal[inner]).mean() < 0.02
