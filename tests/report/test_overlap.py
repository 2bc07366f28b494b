"""What the report says of replicates that share patients of a finite pool."""

import pytest

from ecgscale.data.subsets import Overlap
from ecgscale.report.overlap import finite_pool, overlap_table
from ecgscale.report.stage import write_report
from support import runs as synthetic

SMALL = Overlap(size=128, pool_patients=2560, shared={"0-1": 6, "0-2": 8, "1-2": 7})
HALF = Overlap(size=1280, pool_patients=2560, shared={"0-1": 640, "0-2": 650, "1-2": 630})
LARGE = Overlap(size=2048, pool_patients=2560, shared={"0-1": 1640, "0-2": 1638, "1-2": 1640})


def test_the_table_has_what_is_expected_and_what_there_is():
    rows = overlap_table([SMALL, HALF, LARGE]).rows
    assert rows == [
        ["128", "2,560", "5%", "5%\N{EN DASH}6%", "no"],
        ["1,280", "2,560", "50%", "49%\N{EN DASH}51%", "no"],
        ["2,048", "2,560", "80%", "80%", "yes"],
    ]
    alone = Overlap(size=128, pool_patients=2560, shared={})
    assert overlap_table([alone]).rows[0][3] == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("overlaps", "said"),
    [
        ([], []),
        ([SMALL, HALF], []),
        ([SMALL, LARGE], ["2,048 patients are more than half of the pool: 80% of its 2,560"]),
        (
            [LARGE, LARGE.model_copy(update={"size": 2560})],
            ["2,560 patients are more than half of the pool (so are those of 2,048): 100%"],
        ),
    ],
)
def test_only_a_size_above_half_of_the_pool_is_flagged(overlaps, said):
    found = finite_pool(overlaps)
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))


def test_the_page_and_its_markdown_show_it(tmp_path):
    study = synthetic.make_study(tasks=synthetic.TASKS[:1], objectives=("clef",))
    runs = synthetic.make_runs(study)
    summary = write_report(study, *runs, tmp_path, overlaps=[SMALL, LARGE])
    page, text = (path.read_text() for path in (summary.html, summary.markdown))
    assert '<table id="overlap">' in page
    assert "| 2,048 | 2,560 | 80% | 80% | yes |" in text
    for shown in (page, text):
        assert "differ by their seeds and little by their patients" in shown
    assert "differ by their seeds" not in write_report(study, *runs, tmp_path).markdown.read_text()
