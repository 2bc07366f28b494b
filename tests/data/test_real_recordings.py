"""Every real recording is stored, or quarantined by name and reason."""

import json
from collections import Counter
from functools import cache

import numpy as np
import pandas as pd
import pytest
import wfdb
from scipy.signal import butter, sosfreqz

from ecgscale.data.copies import find_copies
from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.sources import sources
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def run(recordings, tmp_path_factory):
    """Ingest a folder of the real recordings, once; return the summary and the store."""

    @cache
    def ingest_folder(reader, folder, options="{}", **changes):
        root = recordings / folder
        config = SourceConfig(
            reader=reader, root=root, watch=root, options=json.loads(options), **changes
        )
        out = tmp_path_factory.mktemp("stores") / "store"
        summary = ingest(folder, config, Recipe(), out)
        store = open_store(out)
        assert summary.records == len(store) + len(store.quarantine)
        return summary, store

    return lambda *args, options=None, **changes: ingest_folder(
        *args, options=json.dumps(options or {}), **changes
    )


def reasons(store):
    return store.quarantine.set_index("record_id").reason.to_dict()


EXPECTED = "what the other leads let expect"


def alarms(store):
    """Records that are noted for their amplitude, and what the notes say."""
    table = store.records.set_index("record_id").notes
    found = table.map(lambda notes: [each for each in notes if each.startswith("amplitude ")])
    found = found.map(lambda notes: [each for each in notes if EXPECTED not in each])
    return found[found.map(bool)]


def lead_alarms(store):
    """Records with a lead whose amplitude the others do not let expect, to that lead."""
    notes = store.records.set_index("record_id").notes.explode().dropna()
    return notes[notes.str.contains(EXPECTED)].str.extract(r"of lead (\w+) ")[0].to_dict()


def headers(folder):
    return sorted(path.stem for path in folder.glob("*.hea"))


def reference(published, fs):
    """Band-pass and resample in the frequency domain: the filter's squared response, at 100 Hz."""
    length = published.shape[1]
    ends = np.linspace(published[:, 0], published[:, -1], length, axis=1)
    spectrum = np.fft.rfft(published - ends)
    frequency = np.fft.rfftfreq(length, 1 / fs)
    kept = round(length * 100 / fs) // 2 + 1
    sos = butter(3, (0.5, 40), "bandpass", fs=100, output="sos")
    _, response = sosfreqz(sos, frequency[:kept], fs=100)
    spectrum = spectrum[:, :kept] * np.abs(response) ** 2
    return np.fft.irfft(spectrum, round(length * 100 / fs)) * 100 / fs


def assert_follows(store, record, published, fs):
    """Away from the edges the store agrees with the reference to 20 uV (root mean square)."""
    row = store.records.index[store.records.record_id == record].item()
    middle = slice(300, 700)
    difference = store.signals([row])[0] - reference(published, fs)
    assert np.sqrt((difference[:, middle] ** 2).mean(axis=1)).max() < 0.02


def test_chapman_shaoxing(run, recordings):
    summary, store = run("challenge", "chapman-shaoxing", options={"split_lists": "../csn-split"})
    assert (summary.records, summary.stored, summary.quarantined) == (13, 13, {})
    assert store.records.record_id.tolist() == headers(recordings / "chapman-shaoxing")
    for record in ("JS00001", "JS03291", "JS09740"):
        published = wfdb.rdrecord(str(recordings / "chapman-shaoxing" / record)).p_signal.T
        assert_follows(store, record, published, 500)
    assert set(store.records.split.dropna()) <= {"train", "validation", "test"}


def test_ningbo(run, recordings):
    summary, store = run("challenge", "ningbo", max_quarantined=0.06)
    assert (summary.records, summary.stored) == (56, 53)
    detail = store.quarantine.set_index("record_id").detail.to_dict()
    assert set(reasons(store).values()) == {"flat-lead"}
    assert detail == {
        "JS11438": "lead V1, V2, V3, V4, V5, V6",
        "JS20004": "lead V2, V4, V6",
        "JS20008": "lead V2, V4, V6",
    }
    ids = {*store.records.record_id, *detail}
    assert sorted(ids) == headers(recordings / "ningbo")
    noted = store.records[store.records.notes.map(bool)].set_index("record_id").notes.to_dict()
    assert noted.pop("JS20005") == ["an empty label left out"]
    assert all("samples of lead" in notes[0] for notes in noted.values())  # artefacts
    assert lead_alarms(store) == {"JS20011": "V2"}
    assert len(noted) == 2


def test_ningbo_with_flat_leads_kept(run):
    summary, store = run("challenge", "ningbo", options={"flat_leads": "keep"})
    assert (summary.records, summary.stored) == (56, 56)
    flat = {
        row.record_id: note
        for row in store.records.itertuples()
        for note in row.notes
        if note.startswith("flat")
    }
    assert list(flat) == ["JS11438", "JS20004", "JS20008"]


def test_georgia(run, recordings):
    summary, store = run("challenge", "georgia")
    assert (summary.records, summary.stored, summary.quarantined) == (72, 72, {})
    assert store.records.record_id.tolist() == headers(recordings / "georgia")
    assert lead_alarms(store) == {"E07518": "V3"}
    every = [note for row in store.records.notes for note in row if EXPECTED not in note]
    notes = Counter(note.split(":")[0] for note in every)
    assert notes == {
        "gain 4880/mV in the header read as 1000/mV": 13,
        "empty #Dx in the header": 10,
    }
    corrected = store.records.notes.map(lambda notes: any("gain" in note for note in notes))
    amplitudes = store.records.amplitude
    ratio = np.median(amplitudes[corrected]) / np.median(amplitudes[~corrected])
    assert 0.7 < ratio < 1.4
    for record in ("E00001", "E00006", "E07500"):
        samples = np.fromfile(recordings / f"georgia/{record}.mat", "<i2", offset=24)
        assert_follows(store, record, samples.reshape(-1, 12).T / 1000, 500)


@pytest.mark.long
def test_ptb_xl_100(run, recordings):
    summary, store = run("ptb-xl", "ptb-xl")
    assert (summary.records, summary.stored, summary.quarantined) == (3049, 3049, {})
    assert store.records.patient_id.nunique() == 2961
    assert store.records.fold.value_counts()[10] == 337
    assert list(alarms(store).index) == ["16989"]
    assert len(lead_alarms(store)) == 10
    assert summary.found.source_notes == ()
    first = store.records.iloc[0]
    assert (first.record_id, first.patient_id) == ("1", "ptb-xl:15709")
    assert (first.age, first.sex, first.fold) == (56, "F", 3)
    assert first.labels == ["NORM", "LVOLT", "SR"]
    published = wfdb.rdrecord(str(recordings / "ptb-xl/records100/00000/00001_lr")).p_signal.T
    assert_follows(store, "1", published, 100)


def test_ptb_xl_as_the_challenge_states_it(run, recordings):
    """A gain of 200/mV is stated for PTB-XL's integers; their values are PTB-XL's own."""
    _, store = run("challenge", "challenge-ptb-xl")
    _, published = run("ptb-xl", "ptb-xl", options={"rate": 500}, max_quarantined=0.95)
    assert set(store.records.gain) == {"200/mV read as 1000/mV"}
    rows = [published.records.index[published.records.record_id == x].item() for x in "12345"]
    np.testing.assert_array_equal(store.raw(), published.raw(rows))
    np.testing.assert_array_equal(store.records.amplitude, published.records.amplitude[rows])
    folder = recordings / "challenge-ptb-xl"
    for record in sources.get("challenge")(folder, "x").iter_records():
        name = f"0000{record.record_id[-1]}_hr"
        truth = wfdb.rdrecord(str(recordings / "ptb-xl/records500/00000" / name)).p_signal.T
        np.testing.assert_array_equal(record.signal, truth.astype(np.float32))


def test_ptb_as_the_challenge_states_it(run, recordings):
    _, store = run("challenge", "ptb")
    for record, row in zip(("S0001", "S0002"), store.records.itertuples(), strict=True):
        samples = np.fromfile(recordings / f"ptb/{record}.mat", "<i2", offset=24)
        assert_follows(store, record, samples.reshape(-1, 12).T[:, :10000] / 2000, 1000)
        assert row.gain == "2000000/mV read as 2000/mV"
    assert store.records.amplitude.tolist() == pytest.approx([0.459, 0.595], abs=0.01)


@pytest.mark.parametrize(
    "folder",
    ["challenge-ptb-xl", "ptb", "georgia", "cpsc2018", "cpsc-extra", "chapman-shaoxing"],
)
def test_the_readers_agree_and_raise_no_alarm(run, folder):
    _, one = run("challenge", folder)
    summary, other = run("wfdb-tree", folder)
    first = other.records.record_id.str.removesuffix(":0").tolist()
    rows = [first.index(name) for name in one.records.record_id]
    np.testing.assert_array_equal(one.raw(), other.raw(rows))
    assert one.records.gain.tolist() == other.records.gain[rows].tolist()
    assert summary.quarantined == {}
    assert len(alarms(one)) == len(alarms(other)) == 0


def test_ludb_states_a_gain_for_each_lead(run):
    summary, store = run("wfdb-tree", "ludb")
    assert (summary.stored, summary.found.source_notes, len(alarms(store))) == (67, (), 0)
    assert len(lead_alarms(store)) == 1
    assert set(store.records.gain) == {"several gains"}


def test_ptb_xl_500(run):
    """200 records have the 500 Hz files; each of the others is named in quarantine."""
    summary, store = run("ptb-xl", "ptb-xl", options={"rate": 500}, max_quarantined=0.95)
    assert (summary.records, summary.stored) == (3049, 200)
    assert summary.quarantined == {"missing-signal-file": 2849}
    assert set(store.records.fs_original) == {500.0}


def test_both_rates_of_ptb_xl_give_nearly_the_same_store(run):
    _, low = run("ptb-xl", "ptb-xl")
    _, high = run("ptb-xl", "ptb-xl", options={"rate": 500}, max_quarantined=0.95)
    rows = low.records.index[low.records.record_id.isin(high.records.record_id)]
    difference = low.signals(rows)[..., 100:900] - high.signals()[..., 100:900]
    assert np.sqrt(np.median(difference**2)) < 0.01


@pytest.mark.long
def test_pool_of_z_scored_ptb_xl(run):
    options = {
        "signals": "ptb-xl-zscored.npz",
        "table": "ptb-xl-zscored.csv",
        "patient_pattern": "ptbxl_(.+)",
    }
    summary, store = run("packed", "pool100", namespace="ptb-xl", options=options)
    assert (summary.records, summary.stored, summary.quarantined) == (1567, 1567, {})
    assert set(store.records.unit) == {"z"}
    assert summary.found.source_notes == (
        "amplitude not checked in 1567 records that have none in mV",
    )
    assert store.records.patient_id[0] == "ptb-xl:8697"


def test_pool_of_cinc_2011(run, recordings):
    # The array has aVF before aVL, whatever was said of it: the limb leads themselves say so.
    leads = [*LEADS[:4], "aVF", "aVL", *LEADS[6:]]
    options = {"signals": "cinc2011.npz", "table": "cinc2011.csv", "leads": leads}
    summary, store = run("packed", "pool100", options=options, max_quarantined=0.2)
    assert (summary.records, summary.stored) == (941, 807)
    # Where the array is at the lowest end of 16 bits, nobody knows what was recorded.
    assert summary.quarantined == {"bad-gain": 3, "flat-lead": 18, "nan-samples": 113}
    quality = pd.read_csv(recordings / "pool100/cinc2011.csv").set_index("uid").labels
    assert Counter(quality[store.quarantine.record_id]) == {"unacceptable": 113, "acceptable": 21}
    assert set(quality[alarms(store).index]) == {"unacceptable"}
    assert 0 < len(lead_alarms(store)) < 0.06 * summary.stored
    assert sum("clipped by the recorder" in notes for notes in store.records.notes) == 19
    assert (
        sum(any("leads I and II" in note for note in notes) for notes in store.records.notes) == 1
    )
    manifest = json.loads((store.path / "MANIFEST.json").read_text())
    assert manifest["inputs"]["files"] == 2


def same_recordings(stores):
    """Return the pairs found between sources as (source, record, source, record)."""
    matches, manifest = find_copies(stores, set())
    columns = ["source", "record_id", "other_source", "other_record_id"]
    assert sum(pair.undecided for pair in manifest.pairs) == 0
    return set(matches[columns].itertuples(index=False, name=None)), matches


@pytest.mark.long
def test_the_challenge_s_copies_of_ptb_xl_are_found_at_both_rates(run):
    """Another id, other rates of publication, and a gain that is wrong by five."""
    _, low = run("ptb-xl", "ptb-xl")
    _, high = run("ptb-xl", "ptb-xl", options={"rate": 500}, max_quarantined=0.95)
    _, copies = run("challenge", "challenge-ptb-xl")
    found, matches = same_recordings({"100": low, "500": high, "challenge": copies})
    named = {number: f"HR{number:05}" for number in range(1, 6)}
    assert found == {
        *(("100", record, "500", record) for record in high.records.record_id),
        *(("100", str(number), "challenge", name) for number, name in named.items()),
        *(("500", str(number), "challenge", name) for number, name in named.items()),
    }
    assert matches.correlation.min() > 0.99


@pytest.mark.long
def test_no_two_different_real_recordings_are_taken_for_one(run):
    """PTB-XL twice over (197 pairs of one patient's recordings), CinC 2011 and the Challenge's."""
    packed = {"signals": "ptb-xl-zscored.npz", "table": "ptb-xl-zscored.csv"}
    packed |= {"patient_pattern": "ptbxl_(.+)"}
    cinc = {"signals": "cinc2011.npz", "table": "cinc2011.csv"}
    stores = {
        "ptb-xl": run("ptb-xl", "ptb-xl")[1],
        "z-scored": run("packed", "pool100", namespace="ptb-xl", options=packed)[1],
        "cinc-2011": run("packed", "pool100", options=cinc, max_quarantined=0.2)[1],
        "georgia": run("challenge", "georgia")[1],
        "ningbo": run("challenge", "ningbo", max_quarantined=0.06)[1],
        "chapman": run("challenge", "chapman-shaoxing", options={"split_lists": "../csn-split"})[1],
    }
    assert set(stores["ptb-xl"].records.record_id).isdisjoint(
        name.removeprefix("ptbxl_").lstrip("0") for name in stores["z-scored"].records.record_id
    )
    assert same_recordings(stores)[0] == set()
