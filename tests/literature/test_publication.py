"""Files of the literature: what is in them, and what is said of a wrong one."""

import copy
import json
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgscale.errors import BadInputError
from ecgscale.literature import published_rows, read_literature, read_publication

PAPER = {
    "title": "A model",
    "citation": "A. 2025.",
    "identifier": "arXiv:2501.00001",
    "url": "https://arxiv.org/abs/2501.00001",
    "published": "2025-01",
    "read_in": "the abstract",
    "models": {
        "a": {"title": "A", "records": 1000, "exposure": {"ptb-xl": "seen"}, "grade": "2nd"},
        "b": {"title": "B", "grade": "R"},
    },
    "results": [
        {
            **{"task": "af", "dataset": "ptb-xl", "metric": "macro_auroc", "grade": "R"},
            "values": {"a": {"linear": 0.9, "finetune": 0.95}, "b": {"linear": 0.8}},
        }
    ],
    "findings": [{"text": "More helps.", "grade": "C", "of": "scaling"}],
}


def write(folder, paper, name="paper"):
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(paper, sort_keys=False), encoding="utf-8")
    return path


def changed(*place, value):
    paper = copy.deepcopy(PAPER)
    inner = paper
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return paper


@pytest.fixture(scope="module")
def literature(project):
    return read_literature(project / "literature")


@pytest.fixture(scope="module")
def rows(literature):
    return published_rows(literature)


def test_a_file_is_read_row_by_row(tmp_path):
    paper = read_publication(write(tmp_path, PAPER, "mine"))
    assert paper.name == "mine"
    found = [(row.model, row.readout, row.value, row.exposure) for row in published_rows([paper])]
    assert found == [
        ("a", "linear", 0.9, "seen"),
        ("a", "finetune", 0.95, "seen"),
        ("b", "linear", 0.8, "unclear"),
    ]


WRONG = {
    "an unknown key": (changed("authors", value="A"), "authors: Extra inputs"),
    "a missing key": ({k: v for k, v in PAPER.items() if k != "title"}, "title: Field required"),
    "an unknown grade": (changed("models", "a", "grade", value="X"), "models.a.grade: Input"),
    "a negative size": (changed("models", "a", "records", value=-1), "models.a.records: Input"),
    "an exposure that YAML reads as yes": (
        changed("models", "a", "exposure", value={"ptb-xl": True}),
        "models.a.exposure.ptb-xl: Input should be 'seen', 'not seen' or 'unclear'",
    ),
    "an AUROC in percent": (
        changed("results", 0, "values", value={"a": {"linear": 90.0}}),
        "results.0: values.a.linear is 90; macro_auroc lies in [0, 1]",
    ),
    "an unknown readout": (
        changed("results", 0, "values", value={"a": {"probe": 0.9}}),
        "results.0.values.a.probe.[key]: Input should be",
    ),
    "a model that is not described": (
        changed("results", 0, "values", value={"c": {"linear": 0.9}}),
        "results.0.values names 'c', not in models",
    ),
    "a task twice": (changed("results", value=PAPER["results"] * 2), "the task 'af' twice"),
    "a date of another form": (changed("published", value="May 2025"), "published: String"),
    "a name": (changed("name", value="x"), "name: a publication has the name of its file"),
    "nothing in it": (
        {k: v for k, v in PAPER.items() if k not in ("models", "results", "findings")},
        "it has neither models nor findings",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_one_sentence_with_file_and_key(tmp_path, mistake):
    paper, sentence = WRONG[mistake]
    path = write(tmp_path, paper)
    with pytest.raises(BadInputError) as raised:
        read_literature(tmp_path)
    assert str(raised.value).startswith(f"{path}: ")
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
PLACES = [
    *((key,) for key in PAPER),
    *(("models", "a", key) for key in PAPER["models"]["a"]),
    *(("results", 0, key) for key in PAPER["results"][0]),
    ("findings", 0, "of"),
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PLACES), json_values)
def test_whatever_stands_at_a_key_is_read_or_refused_in_one_sentence(
    tmp_path_factory, place, value
):
    path = tmp_path_factory.mktemp("paper") / "paper.yaml"
    path.write_text(json.dumps(changed(*place, value=value)), encoding="utf-8")
    said, rows = "", []
    try:
        rows = published_rows([read_publication(path)])
    except BadInputError as error:
        said = str(error)
    assert all(-1 <= row.value <= 1 for row in rows)
    assert not said or (said.startswith(f"{path}: ") and "\n" not in said)


def test_the_example_of_the_page_is_read(project, tmp_path):
    page = (project / "docs" / "literature.md").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL).group(1), encoding="utf-8")
    assert len(published_rows([read_publication(path)])) == 2


def test_a_project_without_literature_has_none(tmp_path):
    assert read_literature(tmp_path / "literature") == []


def test_the_figures_add_up(rows):
    """Sums by publication, to catch a slip of a finger in a file."""
    sums = {}
    for row in rows:
        count, total = sums.get(row.publication, (0, 0.0))
        sums[row.publication] = count + 1, total + row.value
    assert {name: (count, round(total, 3)) for name, (count, total) in sums.items()} == {
        "benchmark-2509.25095": (156, 142.637),
        "clef": (6, 3.344),
        "ecg-interp": (12, 10.187),
        "ecg-jepa": (1, 0.894),
        "heartlang": (10, 7.667),
        "hubert-ecg": (18, 15.952),
        "jepa-weimann": (1, 0.945),
        "melp": (4, 3.531),
        "merl": (2, 1.754),
        "openecg": (12, 0.228),
    }


def test_the_benchmark_has_eight_models_of_known_size_and_two_without_pretraining(literature):
    paper = next(paper for paper in literature if paper.name == "benchmark-2509.25095")
    sizes = {name: model.records for name, model in paper.models.items()}
    assert sum(size > 0 for size in sizes.values()) == 8
    assert [name for name, size in sizes.items() if not size] == ["s4-scratch", "net1d-scratch"]
    seen = [
        name
        for name, model in paper.models.items()
        if model.exposure.get("chapman-shaoxing-ningbo") == "seen"
    ]
    assert seen == ["ecg-jepa", "st-mem", "ecg-fm"]


def test_every_value_has_a_grade_and_every_publication_a_source(literature, rows):
    assert {row.results.grade for row in rows} == {"R", "2nd", "C"}
    for paper in literature:
        assert paper.identifier
        assert paper.read_in
        if paper.identifier.startswith("arXiv:"):
            assert paper.url == f"https://arxiv.org/abs/{paper.identifier.removeprefix('arXiv:')}"
