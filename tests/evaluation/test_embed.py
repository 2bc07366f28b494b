import numpy as np
import pytest
import torch

from ecgscale.encoders import base as encoders
from ecgscale.encoders.base import CARD, CONFIG, WEIGHTS, model_digest
from ecgscale.errors import BadInputError
from ecgscale.evaluation.embed import cached_embeddings, embed_depths, embed_store


@pytest.fixture
def store(tmp_path, make_store):
    return make_store(tmp_path / "store", records=30)


@pytest.fixture
def encoder(tmp_path, save_encoder):
    return save_encoder(tmp_path / "model")


@pytest.fixture
def cached(tmp_path, encoder, store, recipe):
    def embed(rows=range(30), lead="II", recipe=recipe, depth=1.0):
        return cached_embeddings(
            tmp_path / "model",
            encoder,
            store,
            np.array(rows),
            recipe,
            lead,
            8,
            (depth,),
            "cpu",
            tmp_path / "cache",
        )[depth]

    return embed


def one_by_one(encoder, store, rows, lead):
    """Read, z-score and embed each record alone."""
    found = []
    for row in rows:
        signal = store.signals([row], [lead]).astype(np.float64)
        signal = (signal - signal.mean()) / signal.std()
        with torch.no_grad():
            found.append(encoder.eval().embed(torch.from_numpy(signal).float())[0].numpy())
    return np.array(found)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_equal_to_one_record_at_a_time(encoder, store, recipe, batch_size):
    rows = np.array([4, 4, 29, 0, 17, 3, 11, 8])
    encoder.train()
    found = embed_store(encoder, store, rows, recipe, "V2", batch_size, "cpu")
    assert found.dtype == np.float32
    assert found.shape == (8, 16)
    np.testing.assert_allclose(found, one_by_one(encoder, store, rows, "V2"), rtol=1e-4, atol=1e-6)


def test_progress_adds_up(encoder, store, recipe):
    seen = []
    embed_store(encoder, store, np.arange(30), recipe, "II", 8, "cpu", seen.append)
    assert seen == [8, 8, 8, 6]


def test_an_encoder_of_twelve_leads_sees_the_recipes_leads(tmp_path, save_encoder, store, recipe):
    encoder = save_encoder(tmp_path / "twelve", in_channels=12)
    found = embed_store(encoder, store, np.arange(5), recipe, "II", 8, "cpu")
    signal = store.signals(np.arange(5), recipe.leads)
    signal = (signal - signal.mean(-1, keepdims=True)) / signal.std(-1, keepdims=True)
    with torch.no_grad():
        expected = encoder.embed(torch.from_numpy(signal)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_wrong_numbers_of_leads_and_unknown_leads(tmp_path, save_encoder, store, recipe, encoder):
    two = save_encoder(tmp_path / "two", in_channels=2)
    with pytest.raises(BadInputError, match=r"takes 2 leads, but recipe\.leads has 12"):
        embed_store(two, store, np.arange(3), recipe, "II", 8)
    with pytest.raises(BadInputError, match="lead 'X' is not in recipe"):
        embed_store(encoder, store, np.arange(3), recipe, "X", 8)


def test_an_embedding_that_is_not_finite_names_its_record(encoder, store, recipe):
    with torch.no_grad():
        encoder.conv.weight[0, 0, 0] = torch.nan
    with pytest.raises(BadInputError, match=r"record r0005 of .* is not finite"):
        embed_store(encoder, store, np.array([5, 6]), recipe, "II", 8)


def test_computed_once(cached, filters, encoder, store, recipe):
    first = cached()
    calls = filters.calls
    assert np.array_equal(cached(), first)
    assert filters.calls == calls
    assert np.array_equal(first, embed_store(encoder, store, np.arange(30), recipe, "II", 8, "cpu"))


def test_whatever_changes_the_embeddings_is_another_file(tmp_path, cached, recipe):
    cached()
    cached(rows=range(29))
    cached(rows=[1, 0, *range(2, 30)])
    cached(lead="V1")
    cached(recipe=recipe.model_copy(update={"normalise": "none"}))
    cached(depth=0.5)
    assert len(list((tmp_path / "cache").iterdir())) == 6


def test_new_weights_are_not_taken_for_the_old(tmp_path, cached, save_encoder, store, recipe):
    before = cached()
    directory = tmp_path / "model"
    retrained = save_encoder(directory, seed=1)
    inputs = (directory, retrained, store, np.arange(30), recipe, "II", 8, (1.0,), "cpu")
    after = cached_embeddings(*inputs, tmp_path / "cache")[1.0]
    assert not np.array_equal(before, after)


def test_one_pass_gives_every_depth(encoder, store, recipe, filters):
    rows = np.arange(16)
    found = embed_depths(encoder, store, rows, recipe, "II", 8, (0.5, 0.51, 1.0))
    assert filters.calls == 2
    signal = store.signals(rows, ["II"])
    signal = (signal - signal.mean(-1, keepdims=True)) / signal.std(-1, keepdims=True)
    with torch.no_grad():
        first, last = encoder.hidden_states(torch.from_numpy(signal))
    np.testing.assert_allclose(found[0.5], first.mean(dim=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[1.0], last.mean(dim=1), rtol=1e-4, atol=1e-6)
    assert np.array_equal(found[0.51], found[1.0])
    assert np.array_equal(found[1.0], embed_store(encoder, store, rows, recipe, "II", 8))


@pytest.mark.parametrize(
    ("blocks", "depth", "block"),
    [(10, 0.1, 1), (10, 0.11, 2), (30, 0.1, 3), (7, 0.5, 4), (7, 1, 7)],
)
def test_the_block_of_a_depth_is_rounded_up(store, recipe, blocks, depth, block):
    class Counting(encoders.Encoder):
        """Block number i gives i."""

        @property
        def embed_dim(self):
            return 1

        def hidden_states(self, x, mask=None, fill=None):
            return [torch.full((len(x), 3, 1), float(i + 1)) for i in range(blocks)]

    counting = Counting(encoders.EncoderParams(in_channels=1))
    found = embed_depths(counting, store, np.arange(2), recipe, "II", 8, (depth, 1.0))
    assert found[depth].tolist() == [[block], [block]]


def test_only_depths_that_are_not_cached_are_computed(tmp_path, cached, encoder, store, recipe):
    kept = cached()
    inputs = (tmp_path / "model", encoder, store, np.arange(30), recipe, "II", 8, (0.5, 1.0), "cpu")
    encoder.norm.running_mean.fill_(5.0)  # what is in the cache does not know
    found = cached_embeddings(*inputs, tmp_path / "cache")
    assert np.array_equal(found[1.0], kept)
    assert np.array_equal(found[0.5], cached(depth=0.5))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-100],
        lambda content: content[:40],
        lambda content: b"",
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    ],
    ids=["truncated", "header only", "empty", "one bit"],
)
def test_a_damaged_file_is_computed_again(tmp_path, cached, filters, damage):
    whole = cached()
    (file,) = (tmp_path / "cache").iterdir()
    content = file.read_bytes()
    file.write_bytes(damage(content))
    calls = filters.calls
    assert np.array_equal(cached(), whole)
    assert filters.calls > calls
    assert file.read_bytes() == content
    assert np.array_equal(np.load(file), whole)


def test_model_digest_covers_weights_and_settings_not_the_card(tmp_path, save_encoder):
    first, second, wider = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    save_encoder(first)
    save_encoder(second)
    assert model_digest(first) == model_digest(second)
    (second / CARD).write_text("another card")
    assert model_digest(first) == model_digest(second)
    config = (second / CONFIG).read_text().replace("width: 16", "width: 17")
    (second / CONFIG).write_text(config)
    assert model_digest(first) != model_digest(second)
    save_encoder(wider, seed=1)
    assert model_digest(first) != model_digest(wider)
    (first / WEIGHTS).unlink()
    with pytest.raises(BadInputError, match=r"has no encoder\.safetensors"):
        model_digest(first)
