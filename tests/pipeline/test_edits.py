"""What re-runs follows the code: code is edited in a copy, and DVC is asked what is out of date."""

import json
import shutil
from fnmatch import fnmatch

import pytest

from support.project import shrink

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

PRETRAINED = ["pretrain@*"]
TRAINED = [*PRETRAINED, "control@supervised-*"]
EVERY_PRETRAINING = [*PRETRAINED, "control@*"]
EVALUATED = ["evaluate@*", "evaluate-control@*"]
SEARCH = ["tune@*"]


@pytest.fixture(scope="module")
def edited(checkout, project, tmp_path_factory):
    """A study of two objectives and two encoders that has run, with a copy of the code."""
    made = checkout(_of_two_encoders)
    source = tmp_path_factory.mktemp("code") / "src"
    shutil.copytree(project / "src", source, ignore=shutil.ignore_patterns("*.egg-info"))
    made.environment["PYTHONPATH"] = str(source)
    made.source = source / "ecgscale"
    made.run("repro", "--jobs", "2")
    made.dvc("repro", "tune")
    made.stages = made.dvc("stage", "list", "--name-only").split()
    assert out_of_date(made) == set()
    return made


def _of_two_encoders(study):
    shrink(study)
    study["encoders"]["vit1d-tiny"] = {"kind": "vit1d", "params": {"size": "tiny"}}
    study["grid"].update(encoders=["net1d-tiny", "vit1d-tiny"], sizes=[16])
    study["grid"]["controls"] = ["random", "supervised"]
    study["objectives"]["supervised"] = {"kind": "supervised"}
    study["evaluation"]["protocols"] = [{"readout": "linear"}, {"readout": "linear", "depth": 0.5}]
    study["tune"]["trials"] = 2


def out_of_date(made):
    """Return the stages whose inputs are not those of their last run."""
    made.run("resolve")
    found = json.loads(made.dvc("status", "--json", "--quiet") or "{}")
    changed = {
        stage
        for stage, reasons in found.items()
        if any("changed deps" in reason for reason in reasons if isinstance(reason, dict))
    }
    return changed - {"resolve"}


def replace(made, name, old, new):
    path = made.source / name
    text = path.read_text()
    assert old in text, f"{name} no longer has {old!r}"
    path.write_text(text.replace(old, new))
    return path, text


EDITS = {
    # What is read.
    "a decoder": (
        ("data/wfdb16.py", "baselines) / gains)", "baselines) / gains * 2)"),
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
    # What is simulated.
    "a heart": (("data/simulate/pathology.py", "pr=0.125", "pr=0.12"), ["simulate@*"]),
    "a layout": (
        ("datasets/challenge/layout.py", "#Age: ", "#Age:  "),
        ["simulate@sim-chapman"],
    ),
    # Tasks, splits, subsets.
    "a split": (
        (
            "datasets/ptb_xl/tasks.py",
            "VALIDATION_FOLD, TEST_FOLD = 8, 9",
            "VALIDATION_FOLD, TEST_FOLD = 7, 9",
        ),
        ["targets"],
    ),
    "a label table": (
        ("datasets/ptb_xl/scp_statements.csv", "NORM", "NORN"),
        ["targets", "simulate@sim-ptb-xl"],
    ),
    "the nesting order": (
        ("data/subsets.py", 'f"{order}:{patient}"', 'f"{order}-{patient}"'),
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
    "the optimizer's schedule": (
        ("training/schedule.py", "math.cos(", "math.sin("),
        [*TRAINED, *SEARCH],
    ),
    "one objective": (
        ("objectives/simclr.py", "LossOutput(loss,", "LossOutput(2 * loss,"),
        ["pretrain@simclr-*", "tune@simclr"],
    ),
    "what two objectives share": (
        (
            "objectives/contrastive.py",
            "return features @ features.T",
            "return 2 * features @ features.T",
        ),
        ["pretrain@simclr-*", "pretrain@clef-*", *SEARCH],
    ),
    "the risk": (("data/risk.py", "np.exp(", "np.expm1("), [*TRAINED, *SEARCH]),
    # Encoders: training and, whatever trained them, evaluation.
    "a forward pass": (
        (
            "encoders/net1d.py",
            "F.silu(self.stem_norm(self.stem(x)))",
            "F.relu(self.stem_norm(self.stem(x)))",
        ),
        [
            "pretrain@*-net1d-tiny-*",
            "control@*-net1d-tiny-*",
            "evaluate@*-net1d-tiny-*",
            "evaluate-control@*-net1d-tiny-*",
            *SEARCH,
        ],
    ),
    "another encoder": (
        ("encoders/vit1d.py", "def hidden_states(", "flag = 1\n\n    def hidden_states("),
        [
            "pretrain@*-vit1d-tiny-*",
            "control@*-vit1d-tiny-*",
            "evaluate@*-vit1d-tiny-*",
            "evaluate-control@*-vit1d-tiny-*",
        ],
    ),
    "an encoder that is not asked for": (
        ("encoders/s4.py", "def hidden_states(", "flag = 1\n\n    def hidden_states("),
        [],
    ),
    # Evaluation.
    "a metric": (
        ("evaluation/metrics.py", "binary_f1_score(*one", "0 * binary_f1_score(*one"),
        [*EVALUATED, "baseline@*"],
    ),
    "the bootstrap": (
        (
            "evaluation/bootstrap.py",
            "hashlib.sha256(task.encode())",
            "hashlib.sha256(task.upper().encode())",
        ),
        [*EVALUATED, "baseline@*"],
    ),
    "the probe": (
        ("evaluation/probe.py", "def fit_linear_probes(", "FLAG = 1\n\n\ndef fit_linear_probes("),
        [],
    ),
    "a readout that is not asked for": (
        ("evaluation/readouts/knn.py", "k: int =", "weighted: bool = False\n    k: int ="),
        [],
    ),
    "the features of a baseline": (
        ("evaluation/features.py", "def ecg_features(", "FLAG = 1\n\n\ndef ecg_features("),
        [],
    ),
    # Statistics and the page.
    "a statistic": (
        ("scaling/ranks.py", "return _ratio(ranks", "return -_ratio(ranks"),
        ["report"],
    ),
    "a template": (("report/templates/report.html.j2", "<body", "<body class='x'"), ["report"]),
    # What only watches, prints or looks.
    "the tracking store's adapter": (("runs/tracking.py", "ATTEMPTS = 3", "ATTEMPTS = 4"), []),
    "the command line": (
        ("cli.py", "of {summary.records} records stored", "of {summary.records}"),
        [],
    ),
    "a table that is printed": (("evaluation/compare.py", '"first - second"', '"difference"'), []),
    "the progress bar": (("progress.py", "BarColumn(),", "BarColumn(bar_width=20),"), []),
    "the doctor": (("pipeline/doctor.py", "GiB free", "GiB"), []),
    "a comment and a docstring": (
        ("training/loop.py", '"""', '"""Now: '),
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
