"""Planning a tiny study: from a pilot's records, and from stated noise."""

import json
import math
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from ecgscale import cli
from ecgscale.errors import BadInputError
from ecgscale.pipeline.plan import Rate, plan, read_pilot, stated, write_plan
from ecgscale.runs.record import RunRecord, result_path
from ecgscale.scaling.noise import planned_power
from ecgscale.scaling.variance import slope_weights
from ecgscale.study.design import study_design
from ecgscale.study.file import load_study
from support import runs as synthetic

OPTIONS = {"orders": (0, 1, 2), "objectives": ("clef", "simclr"), "tasks": ("ptb-xl-form",)}
STEPS, SECONDS = 200, 50.0


def written(path, **options):
    """Write a study as a file of YAML, with a comment on its replicates; return it as read."""
    study = synthetic.make_study(**{**OPTIONS, **options})
    text = yaml.safe_dump(study.model_dump(mode="json", exclude_none=True), sort_keys=False)
    path.write_text("# Mine.\n" + text.replace("  replicates:\n", "  replicates: # each its own\n"))
    return load_study(path)


def record_runs(study, root, **options):
    """Write the runs of a study under results/, and a model of 1,000 bytes for each."""
    for records in synthetic.make_runs(study, seed=1, **options):
        for tracked in records:
            record = tracked.record
            if record.phase == "pretrain":
                model = f"models/{record.cell}/encoder.safetensors"
                (root / model).parent.mkdir(parents=True, exist_ok=True)
                (root / model).write_bytes(bytes(1000))
                spent = {"steps": float(STEPS), "seconds": SECONDS}
                record = record.model_copy(
                    update={"metrics": {**record.metrics, **spent}, "artifacts": [model]}
                )
            record.write(result_path(root / "results", record.phase, record.cell))


@pytest.fixture(scope="module")
def piloted(tmp_path_factory):
    """A folder with a study and its runs, of three replicates of five sizes."""
    root = tmp_path_factory.mktemp("piloted")
    record_runs(written(root / "params.yaml"), root)
    return root


def pilot_of(root, study=None):
    study = study or load_study(root / "params.yaml")
    return read_pilot(root / "results", root, study_design(study))


def command(root, monkeypatch, *arguments):
    monkeypatch.setattr(cli, "ROOT", root)
    return CliRunner().invoke(cli.app, ["plan", *map(str, arguments)], catch_exceptions=False)


def test_a_pilots_noise_is_that_of_its_runs(piloted):
    """Of the slopes of replicates, each by polyfit, and their resamples."""
    study = load_study(piloted / "params.yaml")
    pilot = pilot_of(piloted)
    evaluate = {
        t.cell: t.record for t in synthetic.make_runs(study, seed=1)[1] if "n0" not in t.cell
    }
    x = np.log2(study.grid.sizes)
    score = np.array(
        [
            [
                [
                    evaluate[f"{name}/net1d-tiny/n{size}-o{order}-s0"].metrics[
                        "ptb-xl-form.macro_auroc"
                    ]
                    for size in study.grid.sizes
                ]
                for order in range(3)
            ]
            for name in ("clef", "simclr")
        ]
    )
    slopes = np.array([[np.polyfit(x, row, 1)[0] for row in group] for group in score])
    between = slopes.var(axis=1, ddof=1).mean()
    interaction = score - score.mean(axis=1, keepdims=True)
    interaction -= interaction.mean(axis=2, keepdims=True)
    pooled = float((interaction**2).sum()) / 16 * float(slope_weights(x) @ slope_weights(x))
    found = pilot.noise.components(study.grid.sizes).run
    assert found == pytest.approx(between if pilot.noise.slope else pooled)
    assert pilot.noise.df == 4
    assert pilot.steps == STEPS
    assert any("one seed" in note for note in pilot.notes)


def test_cost_is_what_the_pilot_took(piloted):
    study = load_study(piloted / "params.yaml")
    study = study.model_copy(
        update={"training": study.training.model_copy(update={"steps": 2 * STEPS})}
    )
    pilot = pilot_of(piloted)
    rate = pilot.rates["clef", "net1d-tiny"]
    assert rate.flops == pytest.approx(1e12 / STEPS)
    assert (rate.seconds, rate.fixed) == pytest.approx((SECONDS / STEPS, 600 - SECONDS))
    assert rate.bytes > 1000
    found = plan(study, [pilot]).as_written
    # 2 objectives of 5 sizes and two controls, of which the random one takes no steps.
    cells, trained = 3 * 12, 3 * 11
    assert (found.cost.cells, found.cost.steps) == (cells, trained * 2 * STEPS)
    assert found.cost.samples == trained * 2 * STEPS * study.training.batch_size
    assert found.cost.flops == pytest.approx(trained * 2e12)
    seconds = trained * 2 * SECONDS + cells * (600 - SECONDS)
    assert found.cost.device_hours == pytest.approx(seconds / 3600)
    assert found.cost.gigabytes > cells * 1e-6


def test_power_is_that_of_the_pilots_noise_and_the_cheapest_grid_is_enough(piloted):
    study, pilot = load_study(piloted / "params.yaml"), pilot_of(piloted)
    found = plan(study, [pilot], slope=0.004)
    options = {"tests": 2, "alpha": 1 - study.report.confidence}
    own = planned_power(pilot.noise, study.grid.sizes, study.grid.blocks, **options)
    assert found.as_written.power == own.found(0.004)
    assert found.as_written.power_low < found.as_written.power < found.as_written.power_high
    counts = [len(row.blocks) for row in found.replicates]
    assert counts == sorted(counts)
    powers = [row.power for row in found.replicates]
    assert powers == sorted(powers)
    assert found.cheapest.power >= 0.8
    assert found.cheapest.cost.device_hours == min(r.cost.device_hours for r in found.sufficient)
    fewer = planned_power(
        pilot.noise,
        found.cheapest.sizes,
        [(r, r) for r in range(len(found.cheapest.blocks) - 1)],
        **options,
    )
    assert fewer.found(0.004) < 0.8
    assert plan(study, [pilot], slope=-0.004).as_written == found.as_written


def test_steps_are_planned_with_the_pilot_that_ran_nearest(piloted):
    study = load_study(piloted / "params.yaml")
    loud = stated(study, run=0.02)
    found = plan(study, [pilot_of(piloted), loud], slope=0.01, steps=[200, 300])
    assert loud.steps == study.training.steps == 300
    assert found.as_written.power < 0.2
    assert {row.steps for row in found.sufficient} >= {200}
    assert found.cheapest.steps == 200
    other = plan(study, [pilot_of(piloted)], steps=[800])
    assert any("At 800 steps the noise is taken as that of" in note for note in other.notes)


def test_nothing_is_said_of_a_cost_that_is_not_known():
    study = synthetic.make_study(**OPTIONS)
    cost = plan(study, [stated(study, run=0.001)]).as_written.cost
    assert all(math.isnan(n) for n in (cost.flops, cost.device_hours, cost.gigabytes))
    timed = plan(study, [stated(study, run=0.001, speed=640.0)]).as_written.cost
    assert timed.device_hours == pytest.approx(timed.samples / 640 / 3600)
    assert asdict(Rate()).keys() == {"flops", "seconds", "fixed", "bytes"}


def test_written_grids_keep_comments_runs_and_a_valid_search(tmp_path):
    study = written(tmp_path / "params.yaml", seeds=(0, 1), orders=(0, 1))
    found = plan(study, [stated(study, run=0.004)], slope=0.003, fewest_sizes=6)
    notes = write_plan(tmp_path / "params.yaml", found.cheapest, tmp_path / "planned.yaml")
    text = (tmp_path / "planned.yaml").read_text()
    assert text.startswith("# Mine.")
    assert "replicates: # each its own" in text
    planned = load_study(tmp_path / "planned.yaml")
    assert planned.grid.sizes == found.cheapest.sizes
    # Of a crossed grid the replicates with an order and a seed of their own stay.
    assert planned.grid.blocks[:3] == ((0, 0), (1, 1), (2, 2))
    assert len(planned.grid.blocks) == len(found.cheapest.blocks)
    assert planned.tune.smallest in planned.grid.sizes
    assert notes == []
    rest = {"grid", "tune"}
    assert planned.model_dump(exclude=rest) == study.model_dump(exclude=rest)


def test_a_search_on_a_size_that_goes_moves_to_the_nearest(tmp_path):
    study = written(tmp_path / "params.yaml")
    given = yaml.safe_load((tmp_path / "params.yaml").read_text())
    given["tune"]["sizes"] = [512]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(given))
    found = plan(study, [stated(study, run=0.001)], fewest_sizes=6)
    (note,) = write_plan(tmp_path / "params.yaml", found.cheapest, tmp_path / "params.yaml")
    assert "tune.sizes had 512" in note
    moved = load_study(tmp_path / "params.yaml")
    assert moved.tune.smallest in moved.grid.sizes


def test_the_command_says_writes_and_refuses(piloted, tmp_path, monkeypatch):
    given = ["--study", piloted / "params.yaml", "--slope", "0.004"]
    for pilot in (piloted, piloted / "results", piloted / "params.yaml"):
        done = command(piloted, monkeypatch, *given, "--pilot", pilot, "--json")
        found = json.loads(done.stdout)
        assert (
            found["as_written"]["power"]
            == plan(
                load_study(piloted / "params.yaml"), [pilot_of(piloted)], slope=0.004
            ).as_written.power
        )
    out = tmp_path / "planned.yaml"
    done = command(piloted, monkeypatch, *given, "--pilot", piloted, "--write", out)
    assert "The cheapest grid that reaches 80%" in done.stdout
    assert list(load_study(out).grid.sizes) == found["cheapest"]["sizes"]
    with pytest.raises(BadInputError, match="needs --pilot"):
        command(piloted, monkeypatch, *given)
    with pytest.raises(BadInputError, match="no grid reaches 80% power"):
        command(piloted, monkeypatch, *given, "--run-sd", "1", "--write", out)


def test_pilots_that_tell_nothing_are_refused_by_name(piloted, tmp_path):
    study = load_study(piloted / "params.yaml")
    design = study_design(study)
    with pytest.raises(BadInputError, match=r"no complete replicate .* its runs have: nothing"):
        read_pilot(tmp_path, tmp_path, design)
    other = study_design(synthetic.make_study(tasks=("ptb-xl-rhythm",)))
    with pytest.raises(BadInputError, match=r"on ptb-xl-rhythm.* its runs have: ptb-xl-form"):
        read_pilot(piloted, piloted, other)
    mixed = tmp_path / "results"
    shutil.copytree(piloted / "results", mixed)
    path = mixed / "evaluate" / "clef" / "net1d-tiny" / "n128-o0-s0.json"
    RunRecord.read(path).model_copy(update={"study": "another"}).write(path)
    with pytest.raises(BadInputError, match="several studies, another, synthetic"):
        read_pilot(mixed, tmp_path, design)


def test_incomplete_and_collapsed_replicates_stay_out(tmp_path):
    study = written(tmp_path / "params.yaml")
    record_runs(
        study,
        tmp_path,
        missing=["clef/net1d-tiny/n256-o2-s0"],
        collapsed=["simclr/net1d-tiny/n512-o1-s0"],
    )
    assert pilot_of(tmp_path).noise.df == 2
