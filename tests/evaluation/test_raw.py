"""Raw recordings get the embeddings that the same recordings get through a store."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.encoders.base import WEIGHTS, model_digest, read_config
from ecgscale.errors import BadInputError
from ecgscale.evaluation.embed import embed_store
from ecgscale.evaluation.raw import PROJECT, RawEmbedder, load_pointed
from ecgscale.runs.pointer import Pointer

RATES = {"slow": 100, "usual": 500, "odd": 257}
PATH = "models/simclr/tiny/n8-o0-s0"


@pytest.fixture
def recordings(write):
    """Samples in steps of 1 uV, shape (lead, time), and rate, by name; one is short."""
    made = {name: (write.beats(n, fs=fs), fs) for n, (name, fs) in enumerate(RATES.items())}
    return {**made, "short": (write.beats(9, seconds=6, fs=400), 400)}


def table(recordings, leads=LEADS, order=None):
    """The recordings as a model is given them."""
    order = list(range(len(leads))) if order is None else order
    return pd.DataFrame(
        {
            "signal": [(samples / 1000)[order].tolist() for samples, _ in recordings.values()],
            "fs": [float(fs) for _, fs in recordings.values()],
            "leads": [[leads[place] for place in order] for _ in recordings],
        }
    )


@pytest.mark.parametrize("channels", [1, 12])
def test_equal_to_what_evaluation_embeds(tmp_path, write, recordings, save_encoder, channels):
    for name, (samples, fs) in recordings.items():
        write.wfdb(tmp_path / "raw", name, samples, fs=fs)
    recipe = Recipe()
    config = SourceConfig(reader="challenge", root=tmp_path / "raw", watch=tmp_path / "raw")
    ingest("s", config, recipe, tmp_path / "store")
    store = open_store(tmp_path / "store")
    encoder = save_encoder(tmp_path / "model", in_channels=channels)
    rows = [store.records["record_id"].tolist().index(name) for name in recordings]
    expected = embed_store(encoder, store, np.array(rows), recipe, "V2", 64)
    given = RawEmbedder(encoder, recipe, "V2")
    order = np.random.default_rng(0).permutation(12)
    np.testing.assert_array_equal(given.predict(table(recordings)), expected)
    np.testing.assert_array_equal(given.predict(table(recordings, order=order)), expected)
    spelled = [lead.upper() for lead in LEADS]
    np.testing.assert_array_equal(given.predict(table(recordings, spelled)), expected)
    assert np.ptp(expected, axis=0).max() > 0  # or all would be equal to anything


def test_a_lead_that_is_not_there_is_zero(save_encoder, tmp_path, recordings, monkeypatch):
    encoder = save_encoder(tmp_path / "model", in_channels=12)
    given, seen = RawEmbedder(encoder, Recipe(), "II"), []
    monkeypatch.setattr(
        encoder, "embed", lambda x: seen.append(x.numpy()) or torch.zeros(len(x), 16)
    )
    given.predict(table(recordings))
    given.predict(table(recordings, order=[6, 0, 1]))
    whole, part = seen
    there = [place in (0, 1, 6) for place in range(12)]
    np.testing.assert_array_equal(part[:, there], whole[:, there])
    assert not part[:, np.logical_not(there)].any()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop(columns="fs"), "the recordings have no column fs"),
        (lambda t: t.assign(fs=0.0), "recording 0 has the rate 0 Hz"),
        (lambda t: t.assign(leads=[["I"]] * 4), "recording 0 has 12 signals and 1 leads"),
        (lambda t: t.assign(leads=[["X"] * 12] * 4), "recording 0 has the leads X.* none of I"),
        (lambda t: t.assign(signal=[[[1.0], [1.0, 2.0]]] * 4), "recording 0: its leads differ"),
        (lambda t: t.assign(fs=5000.0), r"recording 0 cannot be embedded: too-short \(0\.2 s"),
        (
            lambda t: t.assign(signal=[np.array(x) * 1000 for x in t["signal"]]),
            "recording 0 cannot be embedded: bad-gain",
        ),
        (
            lambda t: t.assign(signal=[np.array(x) * np.nan for x in t["signal"]]),
            "recording 0 cannot be embedded: nan-samples",
        ),
    ],
)
def test_what_cannot_be_embedded_is_named(save_encoder, tmp_path, recordings, change, sentence):
    given = RawEmbedder(save_encoder(tmp_path / "model"), Recipe(), "II")
    with pytest.raises(BadInputError, match=sentence):
        given.predict(change(table(recordings)))


@pytest.fixture
def pointed(tmp_path, save_encoder, monkeypatch):
    """A project with an encoder, and the pointer to it."""
    save_encoder(tmp_path / PATH)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PROJECT, raising=False)
    digest = read_config(tmp_path / PATH)["recipe"]["digest"]
    return Pointer(
        path=PATH,
        model_digest=model_digest(tmp_path / PATH),
        recipe_digest=digest,
        lead="II",
        git_commit="c0ffee",
    )


def test_an_encoder_is_found_from_within_the_project_and_by_its_name(
    tmp_path, pointed, monkeypatch
):
    assert load_pointed(pointed).lead == "II"
    monkeypatch.chdir(tmp_path / "models")
    assert load_pointed(pointed).recipe.digest == pointed.recipe_digest
    monkeypatch.chdir("/")
    with pytest.raises(BadInputError, match=f"{PATH} is not in /: run `dvc pull {PATH}`"):
        load_pointed(pointed)
    monkeypatch.setenv(PROJECT, str(tmp_path))
    assert load_pointed(pointed).lead == "II"


def test_weights_that_are_absent_or_others_are_one_sentence(tmp_path, pointed, save_encoder):
    weights = tmp_path / PATH / WEIGHTS
    kept = weights.read_bytes()
    weights.unlink()
    with pytest.raises(BadInputError, match=f"{WEIGHTS}.*dvc pull {PATH}"):
        load_pointed(pointed)
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(BadInputError, match=r"other weights .*trained at c0ffee.*dvc pull"):
        load_pointed(pointed)
    weights.write_bytes(kept)
    with pytest.raises(BadInputError, match="other preprocessing"):
        load_pointed(pointed.model_copy(update={"recipe_digest": "0"}))
    shutil.rmtree(tmp_path / PATH)
    with pytest.raises(BadInputError, match=f"dvc pull {PATH}"):
        load_pointed(pointed)
