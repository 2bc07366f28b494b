"""Published checkpoints, written here from the published architecture, against our network."""

import hashlib
import os
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from typer.testing import CliRunner

from ecgscale import encoders
from ecgscale.cli import app
from ecgscale.data.recipe import Recipe
from ecgscale.encoders.base import CARD, CONFIG, WEIGHTS, model_digest
from ecgscale.encoders.published import FORMATS, import_weights, read_weights
from ecgscale.encoders.seen import seen_by, seen_by_format
from ecgscale.errors import BadInputError
from ecgscale.tasks import tasks

COUNTER = "num_batches_tracked"
STATISTICS = ("running_mean", "running_var", COUNTER)


@dataclass(frozen=True)
class Published:
    """A network of the family in the published code's own terms."""

    base: int
    ratio: float
    filters: tuple[int, ...]
    blocks: tuple[int, ...]
    group_width: int
    parameters: int
    """One input lead, no head."""
    in_batch_norm: int


PUBLISHED = {
    "small": Published(32, 0.5, (32, 64, 64, 128, 128, 256), (1, 1, 2, 2, 2, 2), 8, 447_792, 4_608),
    "medium": Published(
        64,
        1.0,
        (64, 160, 160, 400, 400, 1024, 1024),
        (2, 2, 2, 3, 3, 4, 4),
        16,
        30_654_000,
        66_368,
    ),
    "large": Published(
        128,
        1.5,
        (128, 256, 256, 512, 512, 1024, 1024, 2048, 2048),
        (2, 3, 3, 4, 4, 5, 5, 6, 6),
        32,
        296_623_360,
        322_048,
    ),
}


def blocks(net):
    """Yield prefix, channels in, between and out, and stride of every block."""
    channels = net.base
    for stage, (filters, count) in enumerate(zip(net.filters, net.blocks, strict=True)):
        for index in range(count):
            middle = int(filters * net.ratio)
            prefix = f"stage_list.{stage}.block_list.{index}"
            yield prefix, channels, middle, filters, 1 if index else 2
            channels = filters


def shapes(net, leads):
    """Return the shape of every entry of the published state_dict, without a head."""
    found = {"first_conv.conv.weight": (net.base, leads, 16), "first_conv.conv.bias": (net.base,)}

    def norm(name, channels):
        for entry in ("weight", "bias", "running_mean", "running_var"):
            found[f"{name}.{entry}"] = (channels,)
        found[f"{name}.{COUNTER}"] = ()

    norm("first_bn", net.base)
    for prefix, before, middle, after, _ in blocks(net):
        norm(f"{prefix}.bn1", before)
        found[f"{prefix}.conv1.conv.weight"] = (middle, before, 1)
        found[f"{prefix}.conv1.conv.bias"] = (middle,)
        norm(f"{prefix}.bn2", middle)
        groups = after // net.group_width
        found[f"{prefix}.conv2.conv.weight"] = (middle, middle // groups, 16)
        found[f"{prefix}.conv2.conv.bias"] = (middle,)
        norm(f"{prefix}.bn3", middle)
        found[f"{prefix}.conv3.conv.weight"] = (after, middle, 1)
        found[f"{prefix}.conv3.conv.bias"] = (after,)
        found[f"{prefix}.se_fc1.weight"] = (after // 2, after)
        found[f"{prefix}.se_fc1.bias"] = (after // 2,)
        found[f"{prefix}.se_fc2.weight"] = (after, after // 2)
        found[f"{prefix}.se_fc2.bias"] = (after,)
    return found


def random_state(size, leads, batch_norm, seed=0):
    """Return random weights and running statistics; the counters say whether they were used."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, shape in shapes(PUBLISHED[size], leads).items():
        entry = key.rpartition(".")[2]
        if entry == COUNTER:
            state[key] = torch.tensor(7 if batch_norm else 0)
        elif entry == "running_var" or (len(shape) == 1 and entry == "weight"):
            state[key] = 0.5 + torch.rand(shape, generator=generator)
        elif len(shape) == 1:
            state[key] = 0.1 * torch.randn(shape, generator=generator)
        else:
            fan_in = shape[1] * (shape[2] if len(shape) == 3 else 1)
            state[key] = torch.randn(shape, generator=generator) * (1.5 / fan_in) ** 0.5
    if batch_norm:
        state[f"stage_list.0.block_list.0.bn1.{COUNTER}"] = torch.tensor(0)
    return state


def same_conv(x, weight, bias, stride=1, groups=1):
    steps = (x.shape[-1] + stride - 1) // stride
    total = max(0, (steps - 1) * stride + weight.shape[-1] - x.shape[-1])
    padded = F.pad(x, (total // 2, total - total // 2))
    return F.conv1d(padded, weight, bias, stride=stride, groups=groups)


def published_tokens(state, net, x, batch_norm):
    """Return what the published network averages over time, (batch, channel, step)."""

    def activated(name, value):
        if batch_norm:
            mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
            scale = state[f"{name}.weight"] / torch.sqrt(var + 1e-5)
            value = (value - mean[:, None]) * scale[:, None] + state[f"{name}.bias"][:, None]
        return value * torch.sigmoid(value)

    def conv(name, value, **options):
        weight, bias = state[f"{name}.conv.weight"], state[f"{name}.conv.bias"]
        return same_conv(value, weight, bias, **options)

    def linear(name, value):
        return value @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    out = activated("first_bn", conv("first_conv", x, stride=2))
    for number, (prefix, before, _, after, stride) in enumerate(blocks(net)):
        shortcut = out
        if number:
            out = activated(f"{prefix}.bn1", out)
        out = activated(f"{prefix}.bn2", conv(f"{prefix}.conv1", out))
        out = conv(f"{prefix}.conv2", out, stride=stride, groups=after // net.group_width)
        out = conv(f"{prefix}.conv3", activated(f"{prefix}.bn3", out))
        gate = linear(f"{prefix}.se_fc1", out.mean(dim=-1))
        gate = torch.sigmoid(linear(f"{prefix}.se_fc2", gate * torch.sigmoid(gate)))
        if stride == 2:
            shortcut = F.max_pool1d(F.pad(shortcut, (0, 1)), 2)
        added = after - before
        shortcut = F.pad(shortcut, (0, 0, added // 2, added - added // 2))
        out = out * gate[:, :, None] + shortcut
    return out


def clef_checkpoint(state, **modules):
    """Return the content of a Lightning checkpoint of CLEF's pretraining."""
    return {
        "epoch": 12,
        "global_step": 12_000,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**{f"backbone.{key}": value for key, value in state.items()}, **modules},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"current": {"ready": 13}}}},
        "callbacks": {"EarlyStopping{'mode': 'min'}": {"best_score": torch.tensor(1.2)}},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": []}],
        "lr_schedulers": [{"T_0": 10, "T_mult": 2}],
    }


def ecgfounder_checkpoint(state, embedding):
    """Return the content of a checkpoint of ECGFounder's training, with its head."""
    head = {"dense.weight": torch.ones(150, embedding), "dense.bias": torch.ones(150)}
    return {
        "epoch": 3,
        "step": 10_000,
        "state_dict": {**state, **head},
        "optimizer": {"state": {}, "param_groups": []},
        "scheduler": {"factor": 0.1, "best": np.float64(0.92)},
        "val_auroc": np.float64(0.9204),
    }


def write(path, checkpoint):
    torch.save(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def small():
    return random_state("small", 1, batch_norm=False)


def signal(leads, length, batch=2):
    return torch.randn(batch, leads, length, generator=torch.Generator().manual_seed(length))


def test_the_reference_has_the_published_number_of_parameters():
    for net in PUBLISHED.values():
        counts = {key: int(np.prod(shape)) for key, shape in shapes(net, 1).items()}
        learned = {key: n for key, n in counts.items() if not key.endswith(STATISTICS)}
        assert sum(learned.values()) == net.parameters
        normalising = [n for key, n in learned.items() if "bn" in key]
        assert sum(normalising) == net.in_batch_norm


@pytest.mark.parametrize(
    ("size", "leads", "batch_norm"),
    [
        ("small", 1, False),
        ("small", 1, True),
        ("small", 12, True),
        ("medium", 1, False),
        ("medium", 1, True),
    ],
)
def test_every_token_is_the_published_networks(tmp_path, size, leads, batch_norm):
    state = random_state(size, leads, batch_norm)
    weights = read_weights(tmp_path, {"state_dict": state}, FORMATS["ecgfounder"])
    assert (weights.size, weights.in_channels, weights.batch_norm) == (size, leads, batch_norm)
    encoder = weights.encoder()
    for length in (300, 517):
        x = signal(leads, length)
        expected = published_tokens(state, PUBLISHED[size], x, batch_norm)
        with torch.no_grad():
            tokens = encoder(x).transpose(1, 2)
        assert expected.std() > 0.1
        torch.testing.assert_close(tokens, expected, rtol=1e-5, atol=1e-5)


def test_a_clef_checkpoint_becomes_an_encoder_directory(tmp_path, small):
    file = write(tmp_path / "clef_small.ckpt", clef_checkpoint(small))
    imported = import_weights(file, "clef-s", tmp_path)
    folder = tmp_path / "models" / "external" / "clef-s"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["clef-s"]
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, CONFIG, CARD}
    assert (imported.format, imported.digest) == ("clef", model_digest(folder))

    encoder = encoders.load(folder)
    x = signal(1, 1000)
    expected = published_tokens(small, PUBLISHED["small"], x, batch_norm=False).mean(dim=-1)
    with torch.no_grad():
        torch.testing.assert_close(encoder.embed(x), expected, rtol=1e-5, atol=1e-5)

    assert seen_by(folder).datasets == ("mimic-iv-ecg",)
    config = yaml.safe_load((folder / CONFIG).read_text())
    assert config["encoder"]["params"] == {"in_channels": 1, "size": "small", "batch_norm": False}
    recipe = Recipe(**{key: value for key, value in config["recipe"].items() if key != "digest"})
    assert (recipe.fs, recipe.seconds, recipe.band) == (500.0, 10.0, (0.67, 40.0))
    assert config["recipe"]["digest"] == recipe.digest

    card = (folder / CARD).read_text()
    for fact in (
        hashlib.sha256(file.read_bytes()).hexdigest(),
        "clef_small.ckpt",
        "format `clef`",
        "447,792",
        "443,184",
        "4,608",
        "| optimizer_states | 1 |",
        "| batch norm that is never applied | 155 |",
        "order 5",
        'encoders.load("models/external/clef-s")',
        "Known to have seen: mimic-iv-ecg (arXiv 2512.02180",
    ):
        assert fact in card
    assert str(tmp_path) not in card


def test_momentum_encoders_queues_and_predictors_are_passed_over_and_counted(tmp_path, small):
    modules = {
        **{f"backbone_k.{key}": value for key, value in small.items()},
        "queue": torch.zeros(256, 8),
        "queue_ptr": torch.zeros(1, dtype=torch.long),
        "predictor.0.weight": torch.zeros(128, 256),
        "predictor.0.bias": torch.zeros(128),
    }
    weights = read_weights(tmp_path, clef_checkpoint(small, **modules), FORMATS["clef"])
    assert weights.passed_over == {
        "batch norm that is never applied": 5 * 31,
        "backbone_k, momentum encoder (MoCo)": len(small),
        "queue, queue of keys (MoCo)": 1,
        "queue_ptr, place in the queue (MoCo)": 1,
        "predictor, predictor (BYOL)": 2,
        **dict.fromkeys(
            (
                "epoch",
                "global_step",
                "pytorch-lightning_version",
                "loops",
                "callbacks",
                "optimizer_states",
                "lr_schedulers",
            ),
            1,
        ),
    }


def test_an_ecgfounder_checkpoint_with_batch_norm_and_head(tmp_path):
    state = random_state("medium", 12, batch_norm=True)
    file = write(tmp_path / "12_lead.pth", ecgfounder_checkpoint(state, embedding=1024))
    imported = import_weights(file, "ecgfounder-12", tmp_path)
    assert imported.format == "ecgfounder"
    assert imported.weights.passed_over["dense, classification head"] == 2
    assert imported.weights.passed_over["batch norm that is never applied"] == 5
    encoder = encoders.load(tmp_path / imported.directory)
    assert encoder.params.model_dump() == {
        "in_channels": 12,
        "size": "medium",
        "batch_norm": True,
    }
    x = signal(12, 400, batch=1)
    expected = published_tokens(state, PUBLISHED["medium"], x, batch_norm=True).mean(dim=-1)
    with torch.no_grad():
        torch.testing.assert_close(encoder.embed(x), expected, rtol=1e-5, atol=1e-5)
    card = (tmp_path / imported.directory / CARD).read_text()
    leads = 64 * 16 * 11
    assert f"{30_654_000 + leads:,}" in card
    assert f"{30_654_000 + leads - 128:,} parameters, embedding width 1024" in card
    assert "notch" in card


def test_the_large_network_is_recognised_and_every_entry_of_it_known(tmp_path):
    """All but the last entry fit, so the last is what the refusal names."""
    state = {
        key: torch.tensor(0) if not shape else torch.zeros(1).expand(shape)
        for key, shape in shapes(PUBLISHED["large"], 1).items()
    }
    last = next(reversed(state))
    state[last] = torch.zeros(3)
    with pytest.raises(BadInputError, match=rf"{last} has shape \(3,\), the large Net1D has"):
        read_weights(tmp_path, {"state_dict": state}, FORMATS["ecgfounder"])


def test_importing_twice_writes_the_same_bytes(tmp_path, small):
    file = write(tmp_path / "clef.ckpt", clef_checkpoint(small))
    first = import_weights(file, "a", tmp_path / "one")
    again = import_weights(file, "a", tmp_path / "two", "clef")
    assert first.digest == again.digest
    for name in (WEIGHTS, CONFIG, CARD):
        one, two = (tmp_path / root / first.directory / name for root in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_half_precision_becomes_float32(tmp_path, small):
    half = {k: v.half() if v.is_floating_point() else v for k, v in small.items()}
    weights = read_weights(tmp_path, {"state_dict": half}, FORMATS["ecgfounder"])
    key = "blocks.0.mix.weight"
    assert weights.state[key].dtype is torch.float32
    published = half["stage_list.0.block_list.0.conv2.conv.weight"]
    assert torch.equal(weights.state[key], published.float())


LAST = "backbone.stage_list.5.block_list.1.se_fc2.bias"
STEM = "backbone.first_conv.conv.weight"
DEAD = "backbone.stage_list.3.block_list.1.bn2"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop(LAST), "lacks stage_list.5.block_list.1.se_fc2.bias of the small Net1D"),
        (lambda s: s.pop(f"{DEAD}.running_var"), r"lacks stage_list.3.block_list.1.bn2.running_"),
        (lambda s: s.pop(STEM), "lacks first_conv.conv.weight"),
        (lambda s: s.update({"backbone.dense.bias": torch.ones(4)}), "'dense.bias', which is not"),
        (lambda s: s.update({"head.weight": torch.ones(4)}), "'head.weight', which is not known"),
        (lambda s: s.update({LAST: torch.ones(255)}), r"se_fc2.bias has shape \(255,\), the small"),
        (lambda s: s.update({STEM: torch.ones(48, 1, 16)}), r"shape \(48, 1, 16\), which no publ"),
        (lambda s: s.update({STEM: torch.ones(32, 3, 16)}), r"shape \(32, 3, 16\), which no publ"),
        (lambda s: s.update({LAST: torch.full((256,), torch.nan)}), "se_fc2.bias holds values"),
        (lambda s: s.update({LAST: [1.0] * 256}), "se_fc2.bias is not a tensor of numbers"),
        (lambda s: s.update({LAST: torch.ones(256, device="meta")}), "se_fc2.bias is not a tensor"),
        (lambda s: s.update({f"{DEAD}.{COUNTER}": torch.tensor(1)}), "disagree on whether batch"),
    ],
)
def test_an_entry_that_does_not_fit_is_named_and_nothing_is_written(
    tmp_path, small, change, sentence
):
    checkpoint = clef_checkpoint(small)
    change(checkpoint["state_dict"])
    file = write(tmp_path / "bad.ckpt", checkpoint)
    with pytest.raises(BadInputError, match=sentence) as caught:
        import_weights(file, "bad", tmp_path, "clef")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.ckpt"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"epoch": 3}, "has no 'state_dict' of weights"),
        ([1, 2], "has no 'state_dict' of weights"),
        ({"state_dict": {"layer1.weight": torch.ones(2)}}, "is of no known format"),
        (
            {"state_dict": {STEM: torch.ones(32, 1, 16)}, "teacher": {}},
            "holds 'teacher' beside state_dict, which is not known",
        ),
    ],
)
def test_other_checkpoints_are_refused(tmp_path, content, sentence):
    file = write(tmp_path / "other.pth", content)
    with pytest.raises(BadInputError, match=sentence):
        import_weights(file, "other", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other.pth"]


class Trap:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def dump(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def legacy(path, content):
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("writer", [write, legacy, dump])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, writer):
    sprung = tmp_path / "sprung"
    content = {"state_dict": {}, "hyper_parameters": Trap(f"touch {sprung}")}
    file = writer(tmp_path / "trap.ckpt", content)
    with pytest.raises(BadInputError) as caught:
        import_weights(file, "trap", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["trap.ckpt"]
    assert "\n" not in str(caught.value)
    assert "refused: it is a pickle that would run posix.system" in str(caught.value)


@pytest.mark.parametrize("kept", [0, 10, 1000, 0.5, 0.999])
def test_a_damaged_file_is_refused(tmp_path, small, kept):
    file = write(tmp_path / "clef.ckpt", clef_checkpoint(small))
    content = file.read_bytes()
    file.write_bytes(content[: kept if kept > 1 else int(kept * len(content))])
    with pytest.raises(BadInputError, match="is damaged or no PyTorch checkpoint") as caught:
        import_weights(file, "clef", tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["clef.ckpt"]


def test_an_existing_directory_stays_as_it_is(tmp_path, small):
    file = write(tmp_path / "clef.ckpt", clef_checkpoint(small))
    folder = tmp_path / "models" / "external" / "mine"
    folder.mkdir(parents=True)
    (folder / "notes").write_text("keep")
    with pytest.raises(BadInputError, match=r"mine exists; remove it or choose another --name"):
        import_weights(file, "mine", tmp_path)
    assert [path.name for path in folder.iterdir()] == ["notes"]


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", ".hidden", "a b"])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(BadInputError, match="--name"):
        import_weights(tmp_path / "any.ckpt", name, tmp_path)


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="'keras' is none of auto, clef, ecgfounder"):
        import_weights(tmp_path / "any.ckpt", "a", tmp_path, "keras")


def test_the_command_says_what_was_imported(tmp_path, small, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "clef.ckpt", clef_checkpoint(small))
    done = CliRunner().invoke(app, ["import-weights", "clef.ckpt", "--name", "clef-s"])
    assert done.exit_code == 0, done.output
    assert "models/external/clef-s: clef, net1d small, leads 1, without batch norm" in done.output
    assert "443,184 of 447,792 published parameters" in done.output
    assert "batch norm that is never applied (155)" in done.output
    assert encoders.load("models/external/clef-s").embed_dim == 256


def test_of_every_format_it_is_said_what_its_checkpoints_have_seen(tmp_path):
    known = {tasks.get(name).metadata.dataset for name in tasks.names()} | {"heedb"}
    assert set(seen_by_format()) == set(FORMATS)
    for seen in seen_by_format().values():
        assert set(seen.datasets) <= known
        assert seen.source.startswith("arXiv ")
    encoders.save(encoders.create("net1d", size="tiny", in_channels=1), tmp_path / "own", {}, "")
    assert seen_by(tmp_path / "own") is None
