from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch

from ecgscale.encoders import create
from ecgscale.evaluation.readouts.finetune import Finetune, encoder_layers


@pytest.mark.parametrize(
    ("kind", "params", "blocks", "first", "last"),
    [
        ("net1d", {"size": "tiny"}, 4, "stem", "blocks.3"),
        ("vit1d", {"size": "tiny"}, None, "embed_patch", "norm"),
        ("s4", {"size": "tiny"}, None, "stem", "layers"),
        ("xresnet1d", {}, None, "stem", "blocks"),
    ],
)
def test_layers_from_the_stem_up(kind, params, blocks, first, last):
    encoder = create(kind, in_channels=1, **params)
    layers = encoder_layers(encoder, 0.5)
    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    grouped = [[names[id(p)] for p in layer.parameters] for layer in layers]
    assert sorted(chain.from_iterable(grouped)) == sorted(
        name for name, p in encoder.named_parameters() if p.requires_grad
    )
    assert all(name.startswith(first) for name in grouped[0])
    assert all(name.startswith(last) for name in grouped[-1])
    depth = len(encoder.hidden_states(torch.zeros(2, 1, 1000)))
    assert blocks in (None, depth)
    scales = [0.5**power for power in range(depth + 1, 0, -1)]
    assert [layer.scale for layer in layers] == [*scales, *([1.0] if last == "norm" else [])]


def test_an_encoder_without_blocks_has_one_rate(make_problem):
    encoder = make_problem("binary").encoder()
    assert [layer.scale for layer in encoder_layers(encoder, 0.5)] == [0.125, 0.25, 0.5]
    del encoder.blocks
    (layer,) = encoder_layers(encoder, 0.5)
    assert layer.scale == 1
    assert len(layer.parameters) == 2


def test_what_is_fixed_stays_fixed_and_the_rest_moves(make_problem):
    problem = make_problem("multi-label", readout="finetune")
    encoder = problem.encoder()
    encoder.stem.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    Finetune().predict(replace(problem, encoder=lambda: encoder))
    after = encoder.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"stem.weight"}  # batch norm's statistics move too


def test_without_layer_decay_nothing_moves_less(make_problem):
    moved = {}
    for decay in (1.0, 1e-3):
        settings = {"epochs": 1, "batch_size": 16, "layer_decay": decay, "weight_decay": 0.0}
        problem = make_problem("binary", readout="finetune", **settings)
        encoder = problem.encoder()
        before = encoder.stem.weight.clone()
        Finetune().predict(replace(problem, encoder=lambda encoder=encoder: encoder))
        moved[decay] = (encoder.stem.weight - before).abs().max().item()
    assert moved[1e-3] < 1e-5 < moved[1.0]


def test_transformers_are_fine_tuned_after_frozen_evaluation(make_problem):
    torch.manual_seed(0)
    encoder = create("vit1d", size="tiny", in_channels=1, patch=10)
    problem = make_problem("binary", readout="finetune")
    with torch.inference_mode():
        encoder.eval().embed(problem.signals(np.arange(4)))
    found = Finetune().predict(replace(problem, encoder=lambda: encoder))
    assert np.isfinite(found.scores[problem.validation]).all()
