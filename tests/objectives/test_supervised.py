import math

import pytest
import torch

from ecgscale import encoders, objectives
from ecgscale.errors import BadInputError
from ecgscale.objectives import Batch

NAN = math.nan


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return encoders.create("net1d", size="tiny", in_channels=2)


def views(targets):
    x = torch.randn(len(targets), 2, 200, generator=torch.Generator().manual_seed(0))
    return {"view": x, "targets": torch.tensor(targets)}


def test_loss_matches_a_loop_over_the_annotated_targets(encoder):
    objective = objectives.create("supervised", encoder, n_labels=3)
    given = views([[1.0, NAN, 0.0], [NAN, NAN, NAN], [0.0, 1.0, 1.0]])
    logits = objective.head(encoder.embed(given["view"])).tolist()
    terms = []
    for row, targets in zip(logits, given["targets"].tolist(), strict=True):
        for logit, target in zip(row, targets, strict=True):
            if not math.isnan(target):
                probability = 1 / (1 + math.exp(-logit))
                terms.append(-math.log(probability if target else 1 - probability))
    expected = sum(terms) / len(terms)
    loss = objective.loss(encoder, given).loss.detach()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_a_label_without_annotation_gets_no_gradient(encoder):
    objective = objectives.create("supervised", encoder, n_labels=2)
    objective.loss(encoder, views([[1.0, NAN], [0.0, NAN]])).loss.backward()
    assert objective.head.bias.grad[0] != 0
    assert objective.head.bias.grad[1] == 0
    assert (objective.head.weight.grad[1] == 0).all()


def test_a_batch_without_any_annotation_has_zero_loss_and_gradient(encoder):
    objective = objectives.create("supervised", encoder, n_labels=2)
    loss = objective.loss(encoder, views([[NAN, NAN], [NAN, NAN]])).loss
    loss.backward()
    assert float(loss.detach()) == 0
    assert all((p.grad == 0).all() for p in encoder.parameters())


def test_labels_are_required(encoder):
    with pytest.raises(BadInputError, match="n_labels"):
        objectives.create("supervised", encoder)
    objective = objectives.create("supervised", encoder, n_labels=2)
    batch = Batch(signal=torch.zeros(1, 2, 200), risk=torch.zeros(1), completeness=torch.zeros(1))
    with pytest.raises(BadInputError, match="targets"):
        objective.views(batch, augment=None)
