"""HEEDB for tests: as described by those who read it."""

from support.sources import beats, write_csv, write_wfdb

PLAIN = {"suffix": ".dat", "offset": 0, "comments": ()}


def write(root):
    write_wfdb(root / "I0001" / "p1", "de_1", beats(0))
    write_wfdb(root / "I0006" / "p2", "de_3", beats(2, fs=250), fs=250, **PLAIN)
    table = [
        {"FileName": "de_1.mat", "BDSPPatientID": "7.0"},
        {"FileName": "I0006/p2/de_3", "BDSPPatientID": "8"},
        {"FileName": "de_99.dat", "BDSPPatientID": "9"},
    ]
    write_csv(root / "metadata" / "metadata.csv", table)
