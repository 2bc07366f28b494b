"""PTB-XL in its published layout."""

import numpy as np
import pytest

from ecgscale.data.sources import sources
from ecgscale.errors import BadInputError


def read(root, **options):
    return list(sources.get("ptb-xl")(root, "ptb", options).iter_records())


def test_one_row(tmp_path, write):
    (record,) = read(write.ptb_xl(tmp_path, [{"height": "180.0", "age": "300"}]))
    assert (record.record_id, record.patient_id) == ("1", "ptb:101")
    assert (record.age, record.sex, record.fold, record.split) == (90, "F", 3, None)
    assert record.labels == {"NORM": 100.0, "SR": 0.0}
    assert record.clinical == {"height": 180.0, "weight": 70.0}
    assert record.leads == write.leads
    assert record.notes == ("age 300 stands for above 89 and is read as 90",)
    np.testing.assert_allclose(record.signal, write.beats(1) / 1000, rtol=1e-6)


def test_sex_is_coded_with_male_as_zero(tmp_path, write):
    records = read(
        write.ptb_xl(tmp_path, [{"sex": "0"}, {"sex": "1"}, {"sex": ""}, {"sex": "1.0"}])
    )
    assert [record.sex for record in records] == ["M", "F", None, "F"]


@pytest.mark.parametrize("rate", [100, 500])
def test_rates(tmp_path, write, rate):
    (record,) = read(write.ptb_xl(tmp_path, [{}], fs=rate), rate=rate)
    assert (record.fs, record.signal.shape) == (rate, (12, 10 * rate))


def test_the_patient_table_is_joined(tmp_path, write):
    write.ptb_xl(tmp_path, [{}, {}])
    rows = [{"patient_id": "102", "sbp": "140", "weight": "71"}]
    write.csv(tmp_path / "patient_metadata.csv", rows)
    first, second = read(tmp_path)
    assert first.clinical == {"weight": 70.0}
    assert second.clinical == {"sbp": 140.0, "weight": 71.0}


def test_tables_that_all_records_need(tmp_path, write):
    write.ptb_xl(tmp_path, [{}])
    (tmp_path / "scp_statements.csv").unlink()
    with pytest.raises(BadInputError, match=r"scp_statements\.csv does not exist"):
        read(tmp_path)
    write.csv(tmp_path / "ptbxl_database.csv", [{"ecg_id": 1}])
    with pytest.raises(BadInputError, match="no column 'patient_id'"):
        read(tmp_path)
    with pytest.raises(BadInputError, match="rate: Input should be 100 or 500"):
        read(tmp_path, rate=250)
