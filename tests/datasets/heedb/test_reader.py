"""HEEDB: patients by metadata.csv, of which a part may be downloaded."""

from ecgscale.data.sources import sources
from support.sources import example, rewrite


def read(root, **options):
    return list(sources.get("heedb")(root, "heedb", options).iter_records())


def test_patients_are_those_of_the_table(tmp_path):
    example("heedb").write(tmp_path)
    first, second = read(tmp_path)
    assert (first.record_id, first.patient_id) == ("I0001/p1/de_1:0", "heedb:7")
    assert (second.record_id, second.patient_id) == ("I0006/p2/de_3:0", "heedb:8")
    assert (first.fs, second.fs) == (100, 250)


def test_a_path_alone_names_another_table_of_these_columns(tmp_path):
    example("heedb").write(tmp_path)
    names = ("de_1", "de_3")
    rewrite(tmp_path / "my.csv", [{"FileName": n, "BDSPPatientID": f"x{n}"} for n in names])
    assert [r.patient_id for r in read(tmp_path, table="my.csv")] == ["heedb:xde_1", "heedb:xde_3"]
