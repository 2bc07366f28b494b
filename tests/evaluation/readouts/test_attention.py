import numpy as np
import torch

from ecgscale.evaluation.readouts.attention import Attention, AttentionPooling


def test_pooling_is_that_of_loops():
    torch.manual_seed(0)
    head = AttentionPooling(dim=7, heads=3, outputs=2)
    tokens = 4 * torch.randn(5, 6, 7)
    with torch.no_grad():
        found = head(tokens)
        for record, expected in zip(tokens, found, strict=True):
            pooled = []
            normed = torch.stack(
                [(t - t.mean()) / (t.var(correction=0) + 1e-5).sqrt() for t in record]
            )
            for number in range(3):
                rows = slice(2 * number, 2 * number + 2)
                keys = [head.key.weight[rows] @ t + head.key.bias[rows] for t in normed]
                values = [head.value.weight[rows] @ t + head.value.bias[rows] for t in normed]
                weights = [torch.exp(head.query[number] @ key / 2**0.5) for key in keys]
                total = sum(weights)
                pooled.append(sum(w / total * v for w, v in zip(weights, values, strict=True)))
            torch.testing.assert_close(head.output(torch.cat(pooled)), expected)


def test_more_heads_than_features():
    assert AttentionPooling(dim=3, heads=8, outputs=1)(torch.randn(2, 4, 3)).shape == (2, 1)


def test_tokens_that_do_not_fit_are_computed_on_the_fly(make_problem):
    settings = {"epochs": 2, "heads": 2, "batch_size": 16}
    kept, computed = (
        Attention().predict(
            make_problem("binary", readout="attention", **settings, cache_mb=megabytes)
        )
        for megabytes in (10, 0)
    )
    np.testing.assert_allclose(kept.scores, computed.scores, atol=1e-4)


def test_the_encoder_is_frozen(make_problem):
    problem = make_problem("multi-label", readout="attention")
    encoder = problem.encoder()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    Attention().predict(problem.__class__(**{**vars(problem), "encoder": lambda: encoder}))
    assert not encoder.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
