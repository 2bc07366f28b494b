"""What the report says of recordings that are in a study twice, and of imported encoders."""

from types import SimpleNamespace

import pytest

from ecgscale.data.copies import HeldOutCheck, IdentityManifest, PairCheck, SourceCheck
from ecgscale.report.contamination import copies_table, seen_table, sentence
from ecgscale.report.stage import write_report
from support import runs as synthetic


@pytest.fixture(scope="module")
def study():
    return synthetic.make_study(tasks=synthetic.TASKS[:1], objectives=("clef",))


@pytest.fixture
def identity(study):
    (pool,), held_out = study.pool, sorted(set(study.evaluation.data.values()))
    unchecked = {"short": 3, "repeats itself": 1}
    names = sorted({pool, *held_out})
    return IdentityManifest(
        sources={
            name: SourceCheck(
                store="d",
                leads=("I", "II"),
                held_out=int(name in held_out),
                records=1204,
                checked=1200,
                unchecked=unchecked if name == pool else {},
            )
            for name in names
        },
        pairs=(PairCheck(source=names[0], other=names[-1], copies=7, undecided=1),),
        held_out=(HeldOutCheck(source=pool, held_out=held_out[0], records=5, patients=4),),
    )


def test_the_table_has_a_row_for_every_pool_and_held_out_source(study, identity):
    (pool,), held_out = study.pool, sorted(set(study.evaluation.data.values()))
    rows = copies_table(study, identity).rows
    assert [row[:2] for row in rows] == [[pool, name] for name in held_out]
    first = rows[0]
    assert first[3:5] == ["5", "4"]
    assert first[5] == "3 short, 1 repeats itself"
    assert all(row[3:5] == ["0", "0"] for row in rows[1:])
    across = [row for row in rows if row[1] != pool]
    assert all((row[2], row[6]) == ("1,200 \u00d7 1,200", "2 \u00d7 2") for row in across)


def test_the_sentence_counts_what_was_found_or_says_that_nothing_was_compared(identity):
    text = sentence(identity)
    assert "7 pairs of records are one recording" in text
    assert "5 records under another id are of a held-out patient" in text
    assert "1 pair could not be decided" in text
    assert "patients' ids alone" in sentence(None)


def test_the_page_and_its_markdown_show_the_check(study, identity, tmp_path):
    runs = synthetic.make_runs(study)
    with_check = write_report(study, *runs, tmp_path / "with", identity)
    without = write_report(study, *runs, tmp_path / "without")
    for place in ("html", "markdown"):
        assert "3 short, 1 repeats itself" in getattr(with_check, place).read_text()
        assert sentence(None).split(":")[0].split("'")[0] in getattr(without, place).read_text()
        assert "3 short" not in getattr(without, place).read_text()
    numbers = [(tmp_path / name / "correlations.csv").read_bytes() for name in ("with", "without")]
    assert numbers[0] == numbers[1]


def test_imported_encoders_are_listed_with_what_they_have_seen():
    def run(cell, role, **details):
        return SimpleNamespace(
            cell=cell, record=SimpleNamespace(axes={"role": role}, details=details)
        )

    seen = {"seen": "Known to have seen: ptb-xl (there); maybe.", "seen_datasets": ["ptb-xl"]}
    runs = [
        run("external/b", "external", **seen),
        run("external/a", "external", seen="Not known.", seen_datasets=None),
        run("external/c", "external", seen="Known: heedb.", seen_datasets=[]),
        run("clef/x/n1-o0-s0", "objective"),
    ]
    assert seen_table(runs).rows == [
        ["external/a", "Not known.", "not known"],
        ["external/b", seen["seen"], "ptb-xl (contaminated)"],
        ["external/c", "Known: heedb.", "none"],
    ]
