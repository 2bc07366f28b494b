"""What a search makes of trials that fail, are killed or run elsewhere: all are made up."""

import math
import sqlite3
import warnings
from types import SimpleNamespace

import pytest

from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.pipeline.tuning import run, storage
from ecgscale.pipeline.tuning.search import OWNER, Search
from ecgscale.pipeline.tuning.training import METRIC, Trainings
from ecgscale.pipeline.tuning.transfer import DEFAULT
from ecgscale.runs.record import RunRecord, read_results
from ecgscale.study.file import load_study
from ecgscale.training.loop import TrainingDivergedError


@pytest.fixture
def study(project):
    given = load_study(project / "params.yaml")
    tune = given.tune.model_copy(update={"trials": 4, "steps": 6, "rungs": 2, "sizes": (64,)})
    return given.model_copy(update={"tune": tune.model_copy(update={"startup_trials": 9})})


def with_search(study, **changed):
    return study.model_copy(update={"tune": study.tune.model_copy(update=changed)})


def judged_by_rate(suggestion, size):
    """A made-up truth: the closer to a rate of 1e-3, the better."""
    return 0.9 - 0.1 * abs(math.log10(suggestion.get("training.lr", 1e-3)) + 3) + size / 1e5


@pytest.fixture
def trained(monkeypatch):
    """Put an outcome for each training in the place of the training; give what was trained."""
    outcomes, seen = {}, []

    def train(self, suggestion, seed, judged, report, title):
        number = len(seen)
        seen.append((suggestion, self.size, seed))
        outcome = outcomes.get(number, judged_by_rate(suggestion, self.size))
        if isinstance(outcome, BaseException):
            raise outcome
        for step in (3, 6):
            judged(step, outcome)

    monkeypatch.setattr(Trainings, "train", train)
    monkeypatch.setattr(Trainings, "subset_digest", "d" * 32)
    monkeypatch.setattr(Trainings, "table", SimpleNamespace(digest="t" * 32))
    monkeypatch.setattr(run.tracking, "nest_trials", lambda root: None)
    monkeypatch.delenv(storage.VARIABLE, raising=False)
    return SimpleNamespace(seen=seen, outcomes=outcomes)


def test_trials_that_fail_are_counted_and_said(study, tmp_path, trained, caplog):
    trained.outcomes |= {
        0: TrainingDivergedError("the loss is nan at step 2 of 6"),
        2: ZeroDivisionError("of a made-up kind"),
    }
    winner = run.tune(study, "clef", tmp_path)
    assert len(trained.seen) == 4
    assert winner.trials == {"complete": 2, "failed": 2}
    record = RunRecord.read(tmp_path / "results/tune/clef/winner.json")
    assert record.details["failures"] == {
        "0": "TrainingDivergedError: the loss is nan at step 2 of 6",
        "2": "ZeroDivisionError: of a made-up kind",
    }
    assert "trial 0 of clef failed: TrainingDivergedError: the loss is nan" in caplog.text
    best = max(judged_by_rate(s, 64) for s, *_ in (trained.seen[1], trained.seen[3]))
    assert winner.value == best


def test_a_search_without_a_finished_trial_is_one_sentence(study, tmp_path, trained):
    trained.outcomes |= {number: TrainingDivergedError("the loss is nan") for number in range(9)}
    with pytest.raises(StageFailedError, match=r"no trial of clef finished \(4 failed\)") as said:
        run.tune(study, "clef", tmp_path)
    assert "trial 0: TrainingDivergedError: the loss is nan" in str(said.value)
    assert len(str(said.value).splitlines()) == 1
    assert len(trained.seen) == 4
    with pytest.raises(StageFailedError):
        run.tune(study, "clef", tmp_path)
    assert len(trained.seen) == 4


def test_what_is_no_number_fails_the_trial(study, tmp_path, trained, monkeypatch):
    monkeypatch.undo()
    trainings = Trainings(study, "clef", tmp_path, 64)
    values = iter([0.6, math.nan])
    monkeypatch.setattr(Trainings, "validation_auroc", lambda self, encoder: next(values))
    monkeypatch.setattr(Trainings, "data", None)
    monkeypatch.setattr("ecgscale.training.stage.initial_encoder", lambda *_: None)

    def train_cell(plan, encoder, data, monitors, report, title):
        for step in (3, 6):
            monitors[0].observe(step, encoder)

    monkeypatch.setattr("ecgscale.training.trainer.train_cell", train_cell)
    judged = []
    with pytest.raises(Exception, match="the validation AUROC is not a number at step 6"):
        trainings.train({}, 0, lambda *point: judged.append(point), lambda _: None, "")
    assert judged == [(3, 0.6)]


def suggestions(seen):
    return [suggestion for suggestion, *_ in seen]


def test_an_interrupted_search_suggests_what_an_undisturbed_one_does(study, tmp_path, trained):
    study = with_search(study, startup_trials=1)
    run.tune(study, "clef", tmp_path / "quiet")
    quiet = suggestions(trained.seen)
    trained.seen.clear()
    trained.outcomes[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run.tune(study, "clef", tmp_path / "disturbed")
    winner = run.tune(study, "clef", tmp_path / "disturbed")
    assert suggestions(trained.seen) == [quiet[0], quiet[1], *quiet[1:]]
    assert winner.trials.pop("killed") == 1
    assert sum(winner.trials.values()) == 4


def begin(search, owner, beat=None):
    """Begin a trial as another process does; give its parameters."""
    from optuna.distributions import FloatDistribution

    rate = FloatDistribution(1e-4, 1e-2, log=True)
    with warnings.catch_warnings(action="ignore"):  # of signs of life, which are made up here
        trial = search.optuna.ask({"training.lr": rate})
    if owner:
        trial.set_user_attr(OWNER, owner)
    if beat:
        search.optuna._storage.record_heartbeat(trial._trial_id)
        with sqlite3.connect(search.root / storage.FILE) as file:
            file.execute("UPDATE trial_heartbeats SET heartbeat = ?", (beat,))
    return trial.params["training.lr"]


@pytest.mark.parametrize("whose", ["own", "unsaid", "elsewhere"])
def test_the_trial_of_a_killed_process_is_begun_again(study, tmp_path, trained, whose):
    from ecgscale.runs import spool

    (tmp_path / ".ecgscale").mkdir()
    search = Search(study, "clef", tmp_path)
    owner = {"own": f"{spool.project_id(tmp_path)}:1", "unsaid": None, "elsewhere": "other:1"}
    rate = begin(search, owner[whose], "2001-01-01 00:00:00" if whose == "elsewhere" else None)
    winner = run.tune(study, "clef", tmp_path)
    assert suggestions(trained.seen)[0]["training.lr"] == rate
    assert winner.trials == {"complete": 4, "killed": 1}


def test_a_trial_of_another_machine_is_waited_for(study, tmp_path, trained, monkeypatch):
    (tmp_path / ".ecgscale").mkdir()
    search = Search(study, "clef", tmp_path)
    begin(search, "other:1")
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        search.optuna.tell(0, 0.95)

    monkeypatch.setattr("ecgscale.pipeline.tuning.workers.sleep", sleep)
    run.run_trials(search)
    assert len(waited) == 1
    assert len(trained.seen) == 3


def test_a_trial_that_is_killed_again_and_again_is_given_up(study, tmp_path, trained):
    (tmp_path / ".ecgscale").mkdir()
    study = with_search(study, trials=2)
    search = Search(study, "clef", tmp_path)
    begin(search, None)
    for _ in range(storage.RETRIES):
        search.settle(alive=())
        begin(search, None)
    search.settle(alive=())
    assert search.left() == 1
    assert search.failures() == {storage.RETRIES: "it was killed 3 times"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql+psycopg2://ann:s3cret@127.0.0.1/x", r"pip install 'ecgscale\[postgres\]'"),
        ("postgresql://ann:s3cret@127.0.0.1:1/x", "127.0.0.1"),
        ("sqlite:////nowhere/at/all.db", "unable to open"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_sentence(
    study, tmp_path, trained, monkeypatch, address, said
):
    monkeypatch.setenv(storage.VARIABLE, address)
    with pytest.raises(BadInputError, match=said) as caught:
        run.tune(study, "clef", tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert "s3cret" not in str(caught.value)


def test_the_best_settings_are_trained_anew_at_every_size(study, tmp_path, trained, caplog):
    study = with_search(study, sizes=(1000, 64), trials=5, transfer=2, transfer_seeds=2)
    trained.outcomes[5 + 6 + 2] = TrainingDivergedError("the loss is nan")
    run.tune(study, "clef", tmp_path)
    searched, later = trained.seen[:5], trained.seen[5:]
    ranked = sorted(suggestions(searched), key=lambda s: -judged_by_rate(s, 64))
    wanted = [(s, seed) for s in (ranked[0], ranked[1], {}) for seed in (1, 2)]
    assert later == [(s, size, seed) for size in (64, 1000) for s, seed in wanted]
    records = [r for r in read_results(tmp_path / "results", "tune") if "/transfer/" in r.cell]
    assert len(records) == 12
    assert [r.details["failure"] for r in records if math.isnan(r.metrics[METRIC])] == [
        "TrainingDivergedError: the loss is nan"
    ]
    assert {r.details["setting"] for r in records} >= {DEFAULT}
    before = (tmp_path / "results/tune/clef/winner.json").read_bytes()
    run.tune(study, "clef", tmp_path)  # nothing is repeated
    assert len(trained.seen) == 17
    assert (tmp_path / "results/tune/clef/winner.json").read_bytes() == before


def test_pictures_show_every_trial(study, tmp_path, trained):
    from PIL import Image

    trained.outcomes[1] = TrainingDivergedError("the loss is nan")
    run.tune(with_search(study, trials=6), "clef", tmp_path)
    record = RunRecord.read(tmp_path / "results/tune/clef/winner.json")
    names = {path.rpartition("/")[2] for path in record.artifacts}
    assert names == {"history.png", "rungs.png", "slices.png", "importance.png"}
    for path in record.artifacts:
        with Image.open(tmp_path / path) as picture:
            assert min(picture.size) > 200
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 3
