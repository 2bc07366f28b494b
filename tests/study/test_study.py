"""A study file is checked as a whole, and a mistake is named by its key."""

import copy

import pytest
import yaml

from ecgscale.data.recipe import Recipe
from ecgscale.errors import BadInputError
from ecgscale.study.cells import cell_axes, study_cells
from ecgscale.study.design import study_design
from ecgscale.study.file import load_study
from ecgscale.study.resolve import validate


@pytest.fixture
def raw(project):
    return yaml.safe_load((project / "params.yaml").read_text())


def blocks(*pairs):
    return [{"order": order, "seed": seed} for order, seed in pairs]


def write(tmp_path, raw):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_every_study_of_the_project_is_valid(project):
    for path in [project / "params.yaml", *(project / "studies").glob("*.yaml")]:
        assert load_study(path).grid.sizes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"typo": 1}, "typo"),
        ({"training": {"lr": -1}}, r"training\.lr"),
        ({"training": {"learning_rate": 1}}, r"training\.learning_rate"),
        ({"grid": {"sizes": [64, 64]}}, r"grid\.sizes repeats"),
        ({"grid": {"replicates": [{"order": 1, "seed": 1}] * 2}}, r"grid\.replicates repeats"),
        ({"grid": {"replicates": []}}, r"grid\.replicates is empty"),
        ({"grid": {"replicates": [{"order": 1}]}}, r"grid\.replicates\.0\.seed"),
        ({"grid": {"replicates": [{"order": 1, "seed": -1}]}}, r"grid\.replicates\.0\.seed"),
        (
            {"grid": {"replicates": blocks((0, 0), (0, 1), (1, 0))}},
            "3 replicates have 2 orders and 2",
        ),
        (
            {"grid": {"orders": [0, 1]}},
            r"grid\.orders: .*\{order: 0, seed: 0\}, \{order: 1, seed: 0",
        ),
        (
            {"grid": {"orders": [3], "seeds": [1, 2]}},
            r"grid\.orders and grid\.seeds: .*\{order: 3, seed: 1\}, \{order: 3, seed: 2\}\]",
        ),
        ({"grid": {"seeds": 1}}, r"replicates: \[\{order: 0, seed: 1\}\]"),
        ({"grid": {"controls": ["simclr"]}}, "grid names simclr in two of"),
        ({"objectives": {"baseline": {"kind": "simclr"}}}, "'baseline' cannot be a name"),
        ({"encoders": {"net/one": {"kind": "net1d"}}}, "'net/one' cannot be a name"),
        (
            {
                "grid": {"objectives": ["a", "a-b"], "encoders": ["b-c", "c"]},
                "objectives": {"a": {"kind": "simclr"}, "a-b": {"kind": "simclr"}},
                "encoders": {"b-c": {"kind": "net1d"}, "c": {"kind": "net1d"}},
            },
            "two pairs of an objective and an encoder are both called a-b-c",
        ),
        (
            {"objectives": {"simclr": {"kind": "simclr", "role": "negative-control"}}},
            "needs control_of",
        ),
        (
            {"objectives": {"simclr": {"kind": "simclr", "data": {"surrogates": True}}}},
            r"objectives\.simclr: what learns from changed data is a negative control",
        ),
        (
            {
                "objectives": {
                    "clef": {"kind": "clef", "role": "positive-control", "control_of": "simclr"}
                }
            },
            r"objectives\.clef: a positive control is no variant",
        ),
        ({"tune": {"objectives": ["supervised-subset"]}}, "which needs labels or changed data"),
        (
            {"tune": {"order": 9}},
            r"tune\.order names 9, which is not in the orders of grid\.replicates",
        ),
        ({"grid": {"baselines": ["age-sex", "age-sex"]}}, r"grid\.baselines repeats"),
        ({"grid": {"sizes": [8, 400]}}, r"below training\.batch_size"),
        ({"grid": {"objectives": ["nonesuch"]}}, "names 'nonesuch', which is not in objectives"),
        ({"pool": {"nowhere": {}}}, "names 'nowhere', which is not in sources"),
        ({"report": {"primary_task": "x"}}, r"report\.primary_task names 'x'"),
        ({"study": {"name": "Two Words"}}, r"study\.name"),
        ({"tune": {"sizes": [63]}}, r"tune\.sizes names 63"),
        ({"tune": {"size": 64}}, r"tune\.size: sizes are one list now, .* sizes: \[64\]"),
        ({"tune": {"sizes": [64, 64]}}, r"tune\.sizes repeats"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path, raw, change, message):
    bad = copy.deepcopy(raw)
    for key, value in change.items():
        bad[key] = {**bad[key], **value} if isinstance(value, dict) and key in bad else value
    with pytest.raises(BadInputError, match=message) as caught:
        load_study(write(tmp_path, bad))
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    "pairs",
    [[(5, 0)], [(0, 3), (1, 1)], [(0, 0), (1, 0), (2, 0)], [(0, 1), (0, 2), (7, 1), (7, 2)]],
)
def test_replicates_are_kept_as_they_are_written(tmp_path, raw, pairs):
    raw["grid"]["replicates"] = blocks(*pairs)
    raw["tune"]["order"] = pairs[0][0]
    study = load_study(write(tmp_path, raw))
    assert study.grid.blocks == study_design(study).blocks == tuple(pairs)
    assert study.grid.orders == tuple(dict.fromkeys(order for order, _ in pairs))


def test_roles_reach_the_design_and_the_records(tmp_path, raw):
    study = load_study(write(tmp_path, raw))
    design = study_design(study)
    assert design.objectives == ("simclr", "clef", "simclr-surrogates", "supervised-subset")
    assert design.positive_controls == ("supervised-subset",)
    assert design.negative_controls == ("simclr-surrogates",)
    assert design.control_of["simclr-surrogates"] == "simclr"
    assert design.declared == ("simclr", "clef")
    roles = {cell.objective: cell_axes(study, cell)["role"] for cell in study_cells(study)}
    assert roles == {
        **{"simclr": "objective", "clef": "objective", "random": "control"},
        **{"supervised": "control", "supervised-subset": "positive-control"},
        "simclr-surrogates": "negative-control",
    }


def with_arm(raw, arm, **grid):
    raw["objectives"]["arm"] = {"kind": "simclr", "arm_of": "simclr", **arm}
    listed = [*raw["grid"]["objectives"], "arm"]
    raw["grid"] = {**raw["grid"], "objectives": listed, **grid}
    raw["pool"]["sim-chapman"] = {}
    return raw


EPOCHS = {"training": {"regime": "fixed_epochs", "epochs": 5}}
WITHOUT = {"data": {"without": ["sim-chapman"]}}


def test_arms_reach_the_design_and_the_records_and_decide_nothing(tmp_path, raw):
    raw["objectives"]["less"] = {"kind": "simclr", "arm_of": "simclr", **WITHOUT}
    raw["grid"]["objectives"].append("less")
    study = load_study(write(tmp_path, with_arm(raw, EPOCHS)))
    design = study_design(study)
    assert design.arm_of["arm"] == design.arm_of["less"] == "simclr"
    assert design.declared == ("simclr", "clef")
    assert design.tests == 2
    assert (design.regimes["arm"], design.regimes["simclr"]) == ("fixed_epochs", "fixed_steps")
    assert design.without["less"] == ("sim-chapman",)
    axes = {cell.objective: cell_axes(study, cell) for cell in study_cells(study)}
    assert (axes["arm"]["role"], axes["arm"]["arm_of"], axes["arm"]["without"]) == (
        *("arm", "simclr"),
        None,
    )
    assert axes["less"]["without"] == "sim-chapman"
    assert axes["simclr"]["arm_of"] is axes["simclr"]["without"] is None


@pytest.mark.parametrize(
    ("arm", "grid", "message"),
    [
        ({}, {}, "must differ from simclr in training or in data.without, and differs in neither"),
        ({"training": {"steps": 250}}, {}, "differs in neither"),
        ({**EPOCHS, **WITHOUT}, {}, "differs in both"),
        ({**EPOCHS, "kind": "byol"}, {}, r"objectives\.arm\.kind must be that of simclr"),
        ({**EPOCHS, "params": {"temperature": 1}}, {}, r"objectives\.arm\.params must be"),
        ({**EPOCHS, "arm_of": "nobody"}, {}, "arm_of names 'nobody', which is not in objectives"),
        ({**EPOCHS, "arm_of": "random"}, {}, "list both in grid.objectives"),
        ({**EPOCHS, "arm_of": "simclr-surrogates"}, {}, "itself an arm or a control"),
        ({**EPOCHS, "control_of": "clef"}, {}, "an arm is no control"),
        ({**EPOCHS, "role": "positive-control"}, {}, "an arm is no control"),
        ({**WITHOUT, "arm_of": None}, {}, "data.without needs arm_of"),
        ({"data": {"without": ["nowhere"]}}, {}, "'nowhere', which is not in pool"),
        ({"data": {"without": ["sim-ptb-xl", "sim-chapman"]}}, {}, "leaves no source"),
        (EPOCHS, {"objectives": ["clef", "arm"]}, "list both in grid.objectives"),
    ],
)
def test_an_arm_differs_from_its_parent_in_one_thing(tmp_path, raw, arm, grid, message):
    with pytest.raises(BadInputError, match=message):
        load_study(write(tmp_path, with_arm(raw, arm, **grid)))


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "cannot be read as YAML"), ("- 1", "is not a mapping"), ("", "is not a mapping")],
)
def test_what_is_no_study_is_refused(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(BadInputError, match=message):
        load_study(path)


def test_an_absent_study_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="does not exist"):
        load_study(tmp_path / "nowhere.yaml")


def test_an_objective_overrides_training_and_nothing_else(tmp_path, raw):
    raw["objectives"]["clef"]["training"] = {"lr": 0.5}
    study = load_study(write(tmp_path, raw))
    assert study.training_for("clef").lr == 0.5
    assert study.training_for("simclr") == study.training
    assert study.training_for("clef").model_copy(update={"lr": study.training.lr}) == study.training


def test_a_bad_override_names_the_objective(tmp_path, raw):
    raw["objectives"]["clef"]["training"] = {"lr": "fast"}
    study = load_study(write(tmp_path, raw))
    with pytest.raises(BadInputError, match=r"objectives\.clef\.training\.lr"):
        study.training_for("clef")


def test_the_recipe_digest_follows_the_settings():
    assert Recipe().digest == Recipe().digest
    assert Recipe().digest != Recipe(fs=250).digest


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"readouts": {"svm": {}}}, r"evaluation\.readouts\.svm: no readout is named 'svm'"),
        ({"readouts": {"knn": {"k": 0}}}, r"evaluation\.readouts\.knn\.k: "),
        ({"protocols": [{"readout": "svm"}]}, r"evaluation\.protocols\.readout: no readout"),
        ({"protocols": [{"readout": "finetune", "depth": 0.5}]}, r"evaluation\.protocols\.depth: "),
    ],
)
def test_a_name_or_setting_that_only_its_class_knows_is_checked_before_anything_runs(
    tmp_path, raw, evaluation, message
):
    raw["evaluation"].update(evaluation)
    with pytest.raises(BadInputError, match=message) as caught:
        validate(load_study(write(tmp_path, raw)))
    assert str(caught.value).count("\n") == 0


def test_a_baseline_that_does_not_exist_is_refused_before_anything_runs(tmp_path, raw):
    raw["grid"]["baselines"] = ["age-sex", "horoscope"]
    with pytest.raises(BadInputError, match=r"grid\.baselines: no baseline is named 'horoscope'"):
        validate(load_study(write(tmp_path, raw)))
