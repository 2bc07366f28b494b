"""The Challenge: every way a record can be bad; its neighbour is stored."""

import os

import pytest

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from support.sources import edit, quarantined


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


CASES = [
    ("missing-signal-file", missing_signal, "bad.mat"),
    ("truncated-signal", truncated, "of 1000 samples"),
    ("truncated-signal", empty_file, "0 of 1000 samples"),
    ("checksum-mismatch", wrong_checksum, "the header states"),
    ("nan-samples", invalid_sample, "aVR"),
    ("flat-lead", flat, "V2"),
    ("flat-lead", nearly_flat, "V2"),
    ("missing-lead", missing_lead, "V6"),
    ("missing-lead", no_lead_name, "signal 12 of bad.hea has no name"),
    ("bad-gain", gain("0/mV"), "0/mV"),
    ("bad-gain", gain("0.0(0)/mV"), "0/mV"),
    ("bad-gain", gain("NaN/mV"), "NaN"),
    ("bad-gain", gain("inf/mV"), "inf"),
    ("bad-gain", gain("-1000/mV"), "-1000"),
    ("bad-gain", gain("1e-300/mV"), "1e-300"),
    ("bad-gain", gain("x/mV"), "x/mV"),
    ("bad-gain", gain("1000/bpm"), "is a voltage, but in bpm"),
    ("bad-gain", gain("10/mV"), "amplitude"),
    ("bad-gain", gain("100000/mV"), "amplitude"),
    ("bad-gain", no_gain, "no gain"),
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
    ("wrong-rate", other_format, "the header states 1000"),
    ("unreadable-header", huge_header, "larger"),
    ("unreadable-header", huge_baseline, "bad.hea"),
    ("repeated-lead", repeated_lead, "lead I of bad.hea is named twice"),
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


@pytest.mark.parametrize(("reason", "damage", "detail"), CASES)
def test_challenge(tmp_path, write, reason, damage, detail):
    root = tmp_path / "in"
    write.wfdb(root, "good", write.beats(0))
    damage(root, write)
    (row,) = quarantined(tmp_path, "challenge", root)
    assert row["reason"] == reason
    assert detail in row["detail"]
    assert row["record_id"] in ("bad", "good", "b" * 300)


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
