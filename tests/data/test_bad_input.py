"""Every way a record can be bad: it is quarantined with its reason, and its neighbour is stored."""

import os
from pathlib import Path

import numpy as np
import pytest

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.sources import REASONS, QuarantineError
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store

DOCS = Path(__file__).parents[2] / "docs" / "sources.md"


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def lead_value(write, value, lead=7, start=0):
    samples = write.beats(1)
    samples[lead, start:] = value
    return samples


def missing_signal(root, write):
    write.wfdb(root, "bad", write.beats(1))
    (root / "bad.mat").unlink()


def truncated(root, write):
    write.wfdb(root, "bad", write.beats(1))
    os.truncate(root / "bad.mat", 1000)


def empty_file(root, write):
    write.wfdb(root, "bad", write.beats(1))
    (root / "bad.mat").write_bytes(b"")


def wrong_checksum(root, write):
    write.wfdb(root, "bad", write.beats(1))
    content = bytearray((root / "bad.mat").read_bytes())
    content[100] ^= 1
    (root / "bad.mat").write_bytes(bytes(content))


def invalid_sample(root, write):
    samples = write.beats(1)
    samples[3, 500] = -32768
    write.wfdb(root, "bad", samples)


def flat(root, write):
    write.wfdb(root, "bad", lead_value(write, 0))


def nearly_flat(root, write):
    write.wfdb(root, "bad", lead_value(write, 55, start=60))


def missing_lead(root, write):
    write.wfdb(root, "bad", write.beats(1)[:11], leads=write.leads[:11])


def no_lead_name(root, write):
    write.wfdb(root, "bad", write.beats(1), leads=(*write.leads[:11], ""))


def gain(text):
    def writer(root, write):
        write.wfdb(root, "bad", write.beats(1), gain=text)

    return writer


def no_gain(root, write):
    path = write.wfdb(root, "bad", write.beats(1))
    lines = path.read_text().splitlines()
    lines[1] = "bad.mat 16+24"
    path.write_text("\n".join(lines))


def rate(text):
    def writer(root, write):
        write.wfdb(root, "bad", write.beats(1), record_line=f"bad 12 {text}")

    return writer


def too_long(root, write):
    write.wfdb(root, "bad", write.beats(1), record_line="bad 12 100 900")


def too_short(root, write):
    write.wfdb(root, "bad", write.beats(1, seconds=4.9))


def same_id(root, write):
    write.wfdb(root / "other", "good", write.beats(1))


def same_signal(root, write):
    write.wfdb(root / "other", "bad", write.beats(0))


def orphan(root, write):
    (root / "bad.mat").write_bytes(b"\0" * 100)


def listed_only(root, write):
    (root / "RECORDS").write_text("good\nbad\n")


def header_text(text):
    def writer(root, write):
        write.wfdb(root, "bad", write.beats(1))
        (root / "bad.hea").write_text(text)

    return writer


def other_format(root, write):
    write.wfdb(root, "bad", write.beats(1))
    edit(root / "bad.hea", " 16+24 ", " 212 ")


def huge_header(root, write):
    write.wfdb(root, "bad", write.beats(1), comments=["#" + "x" * 2_000_000])


def huge_baseline(root, write):
    write.wfdb(root, "bad", write.beats(1), gain=f"1000({10**400})/mV")


def repeated_lead(root, write):
    write.wfdb(root, "bad", write.beats(1), leads=("I", *write.leads[:11]))


def file_named(name):
    def writer(root, write):
        write.wfdb(root.parent / "outside", "secret", write.beats(1))
        target = str(root.parent / "outside" / "secret.mat") if name == "absolute" else name
        write.wfdb(root, "bad", write.beats(1), file=target)

    return writer


def linked_signal(root, write):
    write.wfdb(root.parent / "outside", "secret", write.beats(1))
    write.wfdb(root, "bad", write.beats(1))
    (root / "bad.mat").unlink()
    (root / "bad.mat").symlink_to(root.parent / "outside" / "secret.mat")


def linked_header(root, write):
    path = write.wfdb(root.parent / "outside", "secret", write.beats(1))
    (root / "bad.hea").symlink_to(path)


def listed_outside(root, write):
    write.wfdb(root.parent / "outside", "bad", write.beats(1))
    (root / "RECORDS").write_text("../outside/bad\n")


def dx(text):
    def writer(root, write):
        write.wfdb(root, "bad", write.beats(1), comments=(f"#Dx: {text}",))

    return writer


CHALLENGE = [
    ("missing-signal-file", missing_signal, "bad.mat"),
    ("truncated-signal", truncated, "of 1000 samples"),
    ("truncated-signal", empty_file, "0 of 1000 samples"),
    ("checksum-mismatch", wrong_checksum, "the header states"),
    ("nan-samples", invalid_sample, "aVR"),
    ("flat-lead", flat, "V2"),
    ("flat-lead", nearly_flat, "V2"),
    ("missing-lead", missing_lead, "V6"),
    ("missing-lead", no_lead_name, "V6"),
    ("bad-gain", gain("0/mV"), "0/mV"),
    ("bad-gain", gain("0.0(0)/mV"), "0.0/mV"),
    ("bad-gain", gain("NaN/mV"), "NaN"),
    ("bad-gain", gain("inf/mV"), "inf"),
    ("bad-gain", gain("-1000/mV"), "-1000"),
    ("bad-gain", gain("1e-300/mV"), "1e-300"),
    ("bad-gain", gain("x/mV"), "x/mV"),
    ("bad-gain", gain("1000/bpm"), "bpm"),
    ("bad-gain", gain("10/mV"), "amplitude"),
    ("bad-gain", gain("100000/mV"), "amplitude"),
    ("bad-gain", no_gain, "gain ''"),
    ("wrong-rate", rate("0 1000"), "0 Hz"),
    ("wrong-rate", rate("nan 1000"), "nan Hz"),
    ("wrong-rate", rate("-500 1000"), "-500 Hz"),
    ("wrong-rate", rate("5000000 1000"), "5000000 Hz"),
    ("wrong-rate", rate(""), "nothing Hz"),
    ("wrong-rate", too_long, "the header states 900"),
    ("too-short", too_short, "4.9 s"),
    ("duplicate-record", same_id, "same id"),
    ("duplicate-record", same_signal, "same samples as record good"),
    ("unreadable-header", orphan, "bad.hea does not exist"),
    ("unreadable-header", listed_only, "bad.hea does not exist"),
    ("unreadable-header", header_text(""), "no record line"),
    ("unreadable-header", header_text("bad"), "bad.hea"),
    ("unreadable-header", header_text("bad x 500 5000"), "bad.hea"),
    ("unreadable-header", header_text("bad 12 500 5000\n"), "12 signals, 0 follow"),
    ("unreadable-header", header_text("bad/3 12 500 5000\n"), "segments"),
    ("unreadable-header", other_format, "212"),
    ("unreadable-header", huge_header, "larger"),
    ("unreadable-header", huge_baseline, "bad.hea"),
    ("unreadable-header", repeated_lead, "lead I is named twice"),
    ("path-traversal", file_named("../outside/secret.mat"), "../outside/secret.mat"),
    ("path-traversal", file_named("absolute"), "secret.mat"),
    ("path-traversal", file_named("..\\outside\\secret.mat"), "secret.mat"),
    ("path-traversal", file_named(".."), "'..'"),
    ("path-traversal", linked_signal, "bad.mat"),
    ("path-traversal", linked_header, "bad.hea"),
    ("path-traversal", listed_outside, "../outside/bad.hea"),
    ("unknown-label", dx("426783006,XYZ"), "'XYZ'"),
    ("unknown-label", dx("426783007"), "'426783007'"),
    ("unreadable-file", lambda root, write: (root / "RECORDS").write_text("b" * 300), "too long"),
]

PTB_XL = [
    ("missing-signal-file", {"filename_lr": "records100/00000/09999_lr"}, "09999_lr"),
    ("path-traversal", {"filename_lr": "../outside/secret"}, "../outside/secret"),
    ("path-traversal", {"filename_lr": "/etc/passwd"}, "/etc/passwd"),
    ("path-traversal", {"filename_lr": "records100\0"}, "records100"),
    ("unknown-label", {"scp_codes": "{'NORM': 100.0, 'WHAT': 50.0}"}, "'WHAT'"),
    ("bad-metadata", {"scp_codes": "NORM"}, "NORM"),
    ("bad-metadata", {"scp_codes": "{'NORM': None}"}, "None"),
    ("bad-metadata", {"strat_fold": "three"}, "three"),
    ("bad-metadata", {"weight": "heavy"}, "heavy"),
    ("bad-metadata", {"patient_id": ""}, "patient_id"),
    ("duplicate-record", {"ecg_id": "1"}, "same id"),
]

PACKED = [
    ("missing-signal-file", {"uid": "other"}, "no entry"),
    ("bad-gain", {"amplitude": "counts"}, "counts"),
    ("bad-metadata", {"patient_id": "?"}, "does not match"),
    ("bad-metadata", {"labels": "{broken"}, "broken"),
    ("bad-metadata", {"strat_fold": "x"}, "x"),
    ("bad-metadata", {"n_orig": "many"}, "n_orig"),
    ("wrong-rate", {"n_orig": "1000"}, "2 s"),
    ("wrong-rate", {"fs_orig": "0"}, "fs_orig"),
]


def quarantined(tmp_path, reader, root, options=None):
    """Ingest a folder that holds exactly one good record; return the quarantine table."""
    config = SourceConfig(
        reader=reader, root=root, watch=root, max_quarantined=0.99, options=options or {}
    )
    summary = ingest("s", config, Recipe(), tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert len(store) == summary.stored == 1
    assert summary.records == summary.stored + sum(summary.quarantined.values())
    return store.quarantine.to_dict("records")


@pytest.mark.parametrize(("reason", "damage", "detail"), CHALLENGE)
def test_challenge(tmp_path, write, reason, damage, detail):
    root = tmp_path / "in"
    write.wfdb(root, "good", write.beats(0))
    damage(root, write)
    (row,) = quarantined(tmp_path, "challenge", root)
    assert row["reason"] == reason
    assert detail in row["detail"]
    assert row["record_id"] in ("bad", "good", "b" * 300)


@pytest.mark.parametrize(("reason", "changes", "detail"), PTB_XL)
def test_ptb_xl(tmp_path, write, reason, changes, detail):
    root = write.ptb_xl(tmp_path / "in", [{}, changes])
    (row,) = quarantined(tmp_path, "ptb-xl", root)
    assert (row["reason"], row["record_id"]) == (reason, str(changes.get("ecg_id", 2)))
    assert detail in row["detail"]


def test_ptb_xl_header_of_the_other_rate(tmp_path, write):
    root = write.ptb_xl(tmp_path / "in", [{}, {}])
    edit(root / "records100/00000/00002_lr.hea", "_lr 12 100 1000", "_lr 12 500 1000")
    (row,) = quarantined(tmp_path, "ptb-xl", root)
    assert row["reason"] == "wrong-rate"
    assert "500 Hz, not 100" in row["detail"]


@pytest.mark.parametrize(("reason", "changes", "detail"), PACKED)
def test_packed(tmp_path, write, reason, changes, detail):
    uids = np.array(["set_0", "set_1"])
    root = write.packed(tmp_path / "in", [{}, changes], uids=uids)
    options = {"signals": "signals.npz", "table": "table.csv", "patient_pattern": "p_(.+)"}
    rows = quarantined(tmp_path, "packed", root, options)
    assert rows[0]["reason"] == reason
    assert detail in rows[0]["detail"]
    if "uid" in changes:
        assert rows[1] == {
            "record_id": "set_1",
            "reason": "bad-metadata",
            "detail": "no row in table.csv",
        }


def test_every_reason_is_tested_and_documented():
    assert {case[0] for case in (*CHALLENGE, *PTB_XL, *PACKED)} == set(REASONS)
    text = DOCS.read_text(encoding="utf-8")
    assert all(f"| `{reason}` | {meaning} |" in text for reason, meaning in REASONS.items())


def test_a_reason_must_be_known():
    with pytest.raises(ValueError, match="nonsense"):
        QuarantineError("nonsense", "")


def test_nothing_outside_the_source_is_read_for_digests(tmp_path, write):
    """The manifest's inputs are the same whether or not a traversal target exists."""
    digests = []
    for present in (True, False):
        base = tmp_path / str(present)
        write.wfdb(base / "in", "good", write.beats(0))
        (base / "in" / "RECORDS").write_text("../outside/bad\n")
        if present:
            write.wfdb(base / "outside", "bad", write.beats(1))
        quarantined(base, "challenge", base / "in")
        digests.append(open_store(base / "store").manifest.inputs)
    assert digests[0] == digests[1]


def test_a_flat_lead_is_kept_and_noted_when_asked_for(tmp_path, write):
    root = tmp_path / "in"
    write.wfdb(root, "flat", lead_value(write, 0))
    config = SourceConfig(reader="challenge", root=root, watch=root, options={"flat_leads": "keep"})
    ingest("s", config, Recipe(), tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.records.notes[0] == ["flat lead V2"]
    assert not store.raw(leads=["V2"]).any()
