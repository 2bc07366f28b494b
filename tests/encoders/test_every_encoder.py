import pytest
import torch
import yaml
from safetensors.torch import load, save_file

from ecgscale import encoders
from ecgscale.encoders.base import CARD, CONFIG, WEIGHTS, EncoderParams
from ecgscale.errors import BadInputError
from ecgscale.files import is_full
from support.full_disk import no_room

NAMES = encoders.encoders.names()
RECIPE = {"fs": 100.0, "digest": "0" * 16}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def encoder(name):
    torch.manual_seed(0)
    return encoders.create(name, in_channels=3)


@pytest.fixture
def signal():
    return torch.randn(4, 3, 400, generator=torch.Generator().manual_seed(1))


def test_metadata_is_complete(name):
    cls = encoders.encoders.get(name)
    assert cls.reference.strip()
    assert cls.__doc__
    assert issubclass(cls.Params, EncoderParams)
    assert cls.Params().in_channels == 12


def test_forward_embed_and_backward(encoder, signal):
    tokens = encoder(signal)
    batch, steps, dim = tokens.shape
    assert (batch, dim) == (4, encoder.embed_dim)
    assert steps > 1
    embedding = encoder.embed(signal)
    assert embedding.shape == (4, encoder.embed_dim)
    embedding.square().mean().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_records_do_not_influence_each_other_in_evaluation(encoder, signal):
    encoder.eval()
    with torch.no_grad():
        together, alone = encoder.embed(signal), encoder.embed(signal[:1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


def test_a_flat_lead_gives_finite_embeddings(encoder, signal):
    signal[:, 1] = 0
    assert encoder.embed(signal).isfinite().all()
    assert encoder.embed(torch.zeros_like(signal)).isfinite().all()


def test_same_seed_same_weights_other_seed_other_weights(name):
    def weights(seed):
        torch.manual_seed(seed)
        return encoders.create(name).state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_saved_and_loaded_is_the_same_encoder(encoder, signal, tmp_path):
    encoders.save(encoder, tmp_path / "model", RECIPE, "# card\n")
    loaded = encoders.load(tmp_path / "model")
    assert not loaded.training
    assert (loaded.name, loaded.params) == (encoder.name, encoder.params)
    with torch.no_grad():
        assert torch.equal(loaded.embed(signal), encoder.eval().embed(signal))
    assert (tmp_path / "model" / CARD).read_text() == "# card\n"
    assert yaml.safe_load((tmp_path / "model" / CONFIG).read_text())["recipe"] == RECIPE


def test_saving_twice_writes_the_same_bytes(encoder, tmp_path):
    encoders.save(encoder, tmp_path / "a", RECIPE, "card")
    encoders.save(encoder, tmp_path / "b", RECIPE, "card")
    for file in (WEIGHTS, CONFIG, CARD):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_full_disk_leaves_the_old_encoder(tmp_path):
    encoder = encoders.create("net1d", size="tiny", in_channels=3)
    encoders.save(encoder, tmp_path, RECIPE, "card")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with no_room(1000), pytest.raises(Exception, match=r"(?i)file too large") as caught:
        encoders.save(encoder, tmp_path, RECIPE, "other card")
    assert is_full(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def missing_weight(weights):
    weights.pop(next(iter(weights)))


def extra_weight(weights):
    weights["stranger"] = torch.zeros(1)


def renamed_weight(weights):
    weights["stranger"] = weights.pop(next(iter(weights)))


def reshaped_weight(weights):
    key = next(iter(weights))
    weights[key] = torch.cat([weights[key], weights[key]])


@pytest.mark.parametrize("tamper", [missing_weight, extra_weight, renamed_weight, reshaped_weight])
def test_weights_that_do_not_fit_are_refused(encoder, tmp_path, tamper):
    encoders.save(encoder, tmp_path, RECIPE, "card")
    weights = load((tmp_path / WEIGHTS).read_bytes())
    tamper(weights)
    save_file(weights, tmp_path / WEIGHTS)
    with pytest.raises(BadInputError, match=WEIGHTS) as caught:
        encoders.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_whichever_weight_a_file_lacks_it_is_refused(encoder, tmp_path):
    encoders.save(encoder, tmp_path, RECIPE, "card")
    whole = load((tmp_path / WEIGHTS).read_bytes())
    # Each kind of weight: of the first, the last, and every seventh layer between.
    names = sorted(whole)
    for absent in {names[0], names[-1], *names[::7]}:
        save_file({k: v for k, v in whole.items() if k != absent}, tmp_path / WEIGHTS)
        with pytest.raises(BadInputError, match=absent):
            encoders.load(tmp_path)


def test_a_truncated_weights_file_is_refused(encoder, tmp_path):
    encoders.save(encoder, tmp_path, RECIPE, "card")
    content = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInputError, match=WEIGHTS):
        encoders.load(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        "encoder: [",
        "just words",
        "recipe: {}",
        "{encoder: net1d, recipe: {}}",
        "{encoder: {name: net1d}, recipe: {}}",
        "{encoder: {name: nothing-like-it, params: {}}, recipe: {}}",
    ],
)
def test_a_malformed_configuration_is_refused(tmp_path, config):
    encoders.save(encoders.create("net1d", size="tiny"), tmp_path, RECIPE, "card")
    (tmp_path / CONFIG).write_text(config)
    with pytest.raises(BadInputError) as caught:
        encoders.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(BadInputError, match=CONFIG):
        encoders.load(tmp_path)
    encoders.save(encoders.create("net1d", size="tiny"), tmp_path, RECIPE, "card")
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(BadInputError, match=WEIGHTS):
        encoders.load(tmp_path)


@pytest.mark.parametrize("params", [{"in_channels": 0}, {"not_a_parameter": 1}])
def test_bad_parameters_are_refused(name, params):
    with pytest.raises(BadInputError, match=next(iter(params))):
        encoders.create(name, **params)
