import pytest

from ecgscale.errors import BadInputError
from ecgscale.evaluation.endpoints import protocol_words
from ecgscale.evaluation.settings import Protocol
from ecgscale.study.design import study_design
from ecgscale.study.endpoints import USUAL, endpoints, primary
from support import runs as synthetic


def test_first_protocol_has_the_tasks_names_and_comes_first():
    study = synthetic.make_study(
        tasks=("ptb-xl-form", "mc-med-sbp"),
        protocols=({"readout": "knn"}, {"readout": "linear", "fraction": 0.01, "depth": 0.5}),
    )
    found = endpoints(study)
    assert [endpoint.name for endpoint in found] == [
        "ptb-xl-form",
        "mc-med-sbp",
        "ptb-xl-form@linear-1pct-d50",
        "mc-med-sbp@linear-1pct-d50",
    ]
    assert primary(study) == found[0]
    assert [endpoint.metric.name for endpoint in found] == ["macro_auroc", "mae"] * 2


def test_metrics_come_from_the_tasks_and_know_what_is_better():
    study = synthetic.make_study(tasks=("ptb-xl-form", "mc-med-sbp", "of-nobody"))
    auroc, error, unknown = (endpoint.metric for endpoint in endpoints(study))
    assert (auroc.label, error.label) == ("macro AUROC", "MAE (mmHg)")
    assert auroc.better(0.1)
    assert not auroc.better(-0.1)
    assert error.better(-0.1)
    assert not error.better(0.1)
    assert unknown == USUAL


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ({}, "linear probe"),
        ({"fraction": 0.1}, "linear probe, 10% of the labels"),
        ({"readout": "knn", "depth": 0.5}, "nearest neighbours, blocks up to 50%"),
        ({"readout": "attention"}, "attention head"),
        ({"readout": "finetune", "fraction": 0.01}, "fine-tuned, 1% of the labels"),
    ],
)
def test_protocols_have_words(protocol, words):
    assert protocol_words(Protocol(**protocol)) == words


def test_the_smallest_effect_of_interest_is_stated_or_that_of_a_score():
    assert study_design(synthetic.make_study()).smallest_effect == 0.002
    assert study_design(synthetic.make_study(smallest_effect=0.01)).smallest_effect == 0.01


def test_a_regression_needs_a_smallest_effect_before_anything_runs():
    study = synthetic.make_study(tasks=("mc-med-sbp",), smallest_effect=None)
    with pytest.raises(BadInputError, match=r"report.smallest_effect is missing.*MAE \(mmHg\)"):
        study_design(study)
    assert study_design(synthetic.make_study(tasks=("mc-med-sbp",))).smallest_effect == 0.04
