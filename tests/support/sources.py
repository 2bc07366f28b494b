"""Writers of tiny sources in their published layouts."""

import csv

import numpy as np
import pytest

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def beats(seed=0, seconds=10.0, fs=100):
    """Sharp beats with noise on 12 leads in uV, int16 (lead, time); limb leads consistent."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * fs)) / fs
    phase = (time * rng.uniform(0.9, 1.5) + rng.uniform()) % 1.0
    shape = np.exp(-(((phase - 0.5) / 0.02) ** 2)) + 0.2 * np.exp(-(((phase - 0.8) / 0.05) ** 2))
    free = np.outer(rng.uniform(500, 1500, 8), shape) + rng.normal(0, 10, (8, len(time)))
    one, two = np.rint(free[:2])
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.rint(np.stack([*limb, *free[2:]])).astype(np.int16)


def write_wfdb(
    folder,
    name,
    samples,
    *,
    fs=100,
    suffix=".mat",
    offset=24,
    gain="1000/mV",
    leads=LEADS,
    comments=("#Age: 50", "#Sex: Female", "#Dx: 426783006"),
    record_line=None,
    file=None,
):
    """Write one header and one format-16 signal file; `samples` is int16 (lead, time)."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = np.asarray(samples, dtype=np.int16)
    layout = f"16+{offset}" if offset else "16"
    lines = [record_line or f"{name} {len(samples)} {fs} {samples.shape[1]}"]
    for lead, row in zip(leads, samples, strict=True):
        total = int(row.sum(dtype=np.int64)) % 65536
        lines.append(f"{file or name + suffix} {layout} {gain} 16 0 {row[0]} {total} 0 {lead}")
    header = folder / f"{name}.hea"
    header.write_text("\n".join([*lines, *comments]) + "\n", encoding="utf-8")
    (folder / (name + suffix)).write_bytes(b"\0" * offset + samples.T.astype("<i2").tobytes())
    return header


def write_ptb_xl(root, records, *, fs=100):
    """Write a PTB-XL folder; `records` is a list of rows that override the default row."""
    root.mkdir(parents=True, exist_ok=True)
    suffix, folder = {100: ("lr", "records100/00000"), 500: ("hr", "records500/00000")}[fs]
    rows = []
    for number, changes in enumerate(records, start=1):
        stem = f"{number:05d}_{suffix}"
        write_wfdb(
            root / folder,
            stem,
            beats(number, fs=fs),
            fs=fs,
            suffix=".dat",
            offset=0,
            gain="1000.0(0)/mV",
            leads=[lead.upper() for lead in LEADS],
            comments=(),
        )
        row = {
            "ecg_id": number,
            "patient_id": f"{100 + number}.0",
            "age": "60.0",
            "sex": "1",
            "height": "",
            "weight": "70.0",
            "scp_codes": "{'NORM': 100.0, 'SR': 0.0}",
            "strat_fold": "3",
            "filename_lr": f"{folder}/{stem}",
            "filename_hr": f"{folder}/{stem}",
        }
        rows.append({**row, **changes})
    write_csv(root / "ptbxl_database.csv", rows)
    write_csv(root / "scp_statements.csv", [{"": c, "description": c} for c in ("NORM", "SR")])
    return root


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_packed(root, changes=({},), *, signals=None, uids=None):
    """Write a packed source; `changes` overrides the default row of each record."""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, change in enumerate(changes):
        row = {
            "uid": f"set_{number}",
            "fs_orig": 500,
            "n_orig": 5000,
            "amplitude": "mV",
            "patient_id": f"p_{number}",
            "age": "61.0",
            "sex": "M",
            "labels": "{'NORM': 100.0}",
            "strat_fold": "2.0",
            "clipped": "False",
        }
        rows.append({**row, **change})
    write_csv(root / "table.csv", rows)
    if signals is None:
        signals = np.stack([beats(number) for number in range(len(rows))])
    if uids is None:
        uids = np.array([row["uid"] for row in rows])
    np.savez(root / "signals.npz", signals=signals, uid=uids)
    return root


class Writers:
    """The writers above, for tests."""

    leads = LEADS
    beats = staticmethod(beats)
    wfdb = staticmethod(write_wfdb)
    ptb_xl = staticmethod(write_ptb_xl)
    packed = staticmethod(write_packed)
    csv = staticmethod(write_csv)


@pytest.fixture(scope="session")
def write():
    return Writers
