"""What re-runs follows the code: code is edited in a copy, and DVC is asked what is out of date."""

import json
import shutil
from fnmatch import fnmatch

import pytest

from support.project import shrink

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

PRETRAINED = ["pretrain@*", "pretrain-labelled@*"]
TRAINED = [*PRETRAINED, "control@supervised-*"]
EVERY_PRETRAINING = [*PRETRAINED, "control@*"]
EVALUATED = ["evaluate@*", "evaluate-labelled@*", "evaluate-control@*"]
SEARCH = ["tune@*"]
OF_ENCODERS = (
    *("pretrain", "pretrain-labelled", "control"),
    *("evaluate", "evaluate-labelled", "evaluate-control"),
)
TWICE = '@metrics.register("r2-again")\n@metrics.register("r2")'


@pytest.fixture(scope="module")
def edited(checkout, project, tmp_path_factory):
    """A study of two objectives and two encoders that has run, with a copy of the code."""
    made = checkout(_of_two_encoders)
    source = tmp_path_factory.mktemp("code") / "src"
    shutil.copytree(project / "src", source, ignore=shutil.ignore_patterns("*.egg-info"))
    made.environment["PYTHONPATH"] = str(source)
    made.source = source / "ecgscale"
    made.run("repro", "--jobs", "2")
    made.searches = searches(made)
    made.stages = [*made.dvc("stage", "list", "--name-only").split(), *made.searches]
    assert out_of_date(made) == set()
    return made


def _of_two_encoders(study):
    shrink(study)
    study["encoders"]["vit1d-tiny"] = {"kind": "vit1d", "params": {"size": "tiny"}}
    study["grid"].update(encoders=["net1d-tiny", "vit1d-tiny"], sizes=[16])
    study["grid"]["objectives"].append("simclr-surrogates")
    study["grid"]["labelled"] = ["supervised-subset"]
    study["grid"]["controls"] = ["random", "supervised"]
    study["objectives"]["supervised"] = {"kind": "supervised"}
    study["evaluation"]["protocols"] = [{"readout": "linear"}, {"readout": "linear", "depth": 0.5}]
    study["tune"]["trials"] = 2


def searches(made):
    """Return what decides each search: another content is another search."""
    folder = made.root / "data/resolved/tune"
    return {f"tune@{path.stem}": path.read_text() for path in folder.iterdir()}


def out_of_date(made):
    """Return the stages whose inputs are not those of their last run, and searches made others."""
    made.run("resolve")
    now = searches(made)
    others = {name for name in now if now[name] != made.searches[name]}
    found = json.loads(made.dvc("status", "--json") or "{}")
    changed = {
        stage
        for stage, reasons in found.items()
        if any("changed deps" in reason for reason in reasons if isinstance(reason, dict))
    }
    return changed - {"resolve"} | others


def replace(made, name, old, new):
    path = made.source / name
    text = path.read_text()
    assert old in text, f"{name} no longer has {old!r}"
    path.write_text(text.replace(old, new))
    return path, text


EDITS = {
    # What is read.
    "a decoder": (
        ("data/gate.py", "np.array([gains[row]", "0.5 * np.array([gains[row]"),
        ["ingest@*"],
    ),
    "a reader": (
        ("datasets/ptb_xl/reader.py", '"0": "M", "1": "F"', '"0": "F", "1": "M"'),
        ["ingest@sim-ptb-xl"],
    ),
    "the resampler": (
        ("data/preprocess.py", 'padtype="line"', 'padtype="mean"'),
        ["ingest@*"],
    ),
    "a reader that is not asked for": (
        ("datasets/music/reader.py", "def index(self)", "def index(self, _)"),
        [],
    ),
    # What is simulated.
    "a heart": (
        ("data/simulate/pathology.py", "pr=0.125", "pr=0.12"),
        ["simulate@*"],
    ),
    "a layout": (
        ("datasets/challenge/layout.py", "#Age: ", "#Age:  "),
        ["simulate@sim-chapman"],
    ),
    # Tasks, splits, subsets.
    "a split": (
        ("datasets/ptb_xl/tasks.py", "TEST_FOLD = 8, 9, 10", "TEST_FOLD = 7, 9, 10"),
        ["targets", "report"],
    ),
    "how recordings are compared": (
        ("data/agreement.py", "SEARCH = 0.05", "SEARCH = 0.06"),
        ["identity"],
    ),
    "a label table": (
        ("datasets/challenge/csn_labels.csv", "426783006,", "426783007,"),
        ["targets", "simulate@sim-chapman", "report"],
    ),
    "the nesting order": (
        ("data/subsets.py", 'f"{order}:{name}"', 'f"{order}-{name}"'),
        ["subset@*"],
    ),
    # Pretraining.
    "the initial weights": (
        ("training/stage.py", 'derived_seed("encoder"', 'derived_seed("weights"'),
        [*EVERY_PRETRAINING, *SEARCH],
    ),
    "the gradient average": (
        ("distributed.py", "return total / world_size()", "return total / world_size() / 2"),
        [*TRAINED, *SEARCH],
    ),
    "a view": (
        ("data/augment.py", "sd * config.noise_sd", "2 * sd * config.noise_sd"),
        [*TRAINED, *SEARCH],
    ),
    "the schedule": (
        ("training/schedule.py", "math.cos(", "math.sin("),
        [*TRAINED, *SEARCH],
    ),
    "one objective": (
        ("objectives/simclr.py", "LossOutput(loss,", "LossOutput(2 * loss,"),
        ["pretrain@simclr-*", "tune@simclr"],
    ),
    "what two objectives share": (
        ("objectives/contrastive.py", "return features @ features.T", "return 2 * features"),
        ["pretrain@simclr-*", "pretrain@clef-*", *SEARCH],
    ),
    "what a search varies": (
        ("objectives/clef.py", "FloatRange(0.02, 1.0", "FloatRange(0.03, 1.0"),
        ["tune@clef"],
    ),
    "what every search varies": (
        ("objectives/search_space.py", "FloatRange(1e-4, 1e-2", "FloatRange(2e-4, 1e-2"),
        SEARCH,
    ),
    "the surrogates": (
        ("data/surrogate.py", "2 * np.pi,", "np.pi,"),
        ["pretrain@simclr-surrogates-*"],
    ),
    "the labels of a subset": (
        ("training/labels.py", "np.nan, dtype", "0.0, dtype"),
        ["pretrain-labelled@*", "control@supervised-*"],
    ),
    "a model's card": (
        ("training/card.py", "Nothing: it was not trained", "It was not trained"),
        EVERY_PRETRAINING,
    ),
    "the risk": (
        ("data/risk.py", "np.exp(", "np.expm1("),
        [*TRAINED, *SEARCH],
    ),
    # Encoders: training and, whatever trained them, evaluation.
    "a forward pass": (
        ("encoders/net1d.py", "F.silu(self.stem_norm(", "F.relu(self.stem_norm("),
        [*(f"{stage}@*-net1d-tiny" for stage in OF_ENCODERS), *SEARCH],
    ),
    "another encoder": (
        (
            "encoders/vit1d.py",
            "def frames(self, x",
            "def frames(self, _, x",
        ),
        [f"{stage}@*-vit1d-tiny" for stage in OF_ENCODERS],
    ),
    "an encoder that is not asked for": (
        ("encoders/s4.py", "torch.exp(", "torch.expm1("),
        [],
    ),
    # Evaluation.
    "a metric": (
        ("evaluation/metrics/macro_f1.py", "validate_args=False", "validate_args=True"),
        [*EVALUATED, "baseline@*", "report"],
    ),
    "a new metric": (
        ("evaluation/metrics/r2.py", '@metrics.register("r2")', TWICE),
        [*EVALUATED, "baseline@*", "report"],
    ),
    "the bootstrap": (
        ("evaluation/bootstrap.py", 'f"{seed} {patient}".encode()', 'f"{patient} {seed}".encode()'),
        [*EVALUATED, "baseline@*", "report"],
    ),
    "the probe": (
        ("evaluation/probe.py", "TOLERANCE = 1e-5", "TOLERANCE = 2e-5"),
        [*EVALUATED, "baseline@age-sex", "baseline@ecg-features", *SEARCH, "report"],
    ),
    "a new setting of a readout that is not asked for": (
        (
            "evaluation/readouts/knn.py",
            "        k: int",
            "        far: int = 1\n        k: int",
        ),
        [],
    ),
    "the digits of a metric": (
        ("evaluation/metrics/mae.py", "digits = 2", "digits = 3"),
        ["report"],
    ),
    "the words of a readout": (
        ("evaluation/readouts/linear.py", '"a linear probe of the', '"one linear probe of the'),
        ["report"],
    ),
    "a baseline": (
        ("evaluation/baselines/age_sex.py", '"F": 0.0, "M": 1.0', '"F": 1.0, "M": 0.0'),
        ["baseline@age-sex", "report"],
    ),
    "the features of a baseline": (
        ("evaluation/features.py", "_SLOW = 0.07", "_SLOW = 0.08"),
        ["baseline@ecg-features", "report"],
    ),
    # Statistics and the page.
    "a statistic": (
        ("scaling/ranks.py", "return _ratio(ranks", "return -_ratio(ranks"),
        ["report"],
    ),
    "a template": (
        ("report/templates/report.html.j2", "<body", "<body class='x'"),
        ["report"],
    ),
    "a comment in a list of tasks": (
        ("datasets/mc_med/mc-med-tasks.yaml", "# Labels follow", "# The labels follow"),
        [],
    ),
    # What a setting may be, of others.
    "a setting of the report": (
        ("scaling/settings.py", "(Settings):", "(Settings):\n    colour: str = 'blue'\n"),
        ["report"],
    ),
    # The search.
    "the search": (
        ("pipeline/tuning/search.py", "SEEDS_PER_STUDY = 10_000", "SEEDS_PER_STUDY = 10_001"),
        SEARCH,
    ),
    # What only watches, prints or looks.
    "the tracking store's adapter": (
        ("runs/tracking.py", "LOOK = 5.0", "LOOK = 6.0"),
        [],
    ),
    "the command line": (
        ("cli.py", "records stored", "records are stored"),
        [],
    ),
    "a table that is printed": (
        ("scaling/cells.py", '"first - second"', '"difference"'),
        [],
    ),
    "the progress bar": (
        ("progress.py", "BarColumn(),", "BarColumn(bar_width=20),"),
        [],
    ),
    "the doctor": (
        ("pipeline/doctor.py", "GiB free", "GiB"),
        [],
    ),
    "a comment and a docstring": (
        ("training/loop.py", '"""The training loop', '"""Now: the training loop'),
        [],
    ),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_makes_out_of_date_what_it_reaches_and_nothing_else(edited, what):
    edit, patterns = EDITS[what]
    path, text = replace(edited, *edit)
    try:
        changed = out_of_date(edited)
    finally:
        path.write_text(text)
    expected = {s for s in edited.stages if any(fnmatch(s, pattern) for pattern in patterns)}
    assert all(any(fnmatch(s, pattern) for s in edited.stages) for pattern in patterns)
    assert changed == expected


def test_an_edit_that_is_taken_back_leaves_everything_up_to_date(edited):
    assert out_of_date(edited) == set()
