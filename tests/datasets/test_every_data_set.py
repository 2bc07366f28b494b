"""What holds for every source and every simulated layout, and what each data set must have."""

import pickle

import numpy as np
import pytest

from ecgscale.data.simulate.layout import layouts
from ecgscale.data.simulate.options import CohortOptions
from ecgscale.data.sources import sources
from ecgscale.errors import BadInputError
from ecgscale.tasks.base import tasks
from support.sources import LEADS, Simulated, example, folder_of_tests, write_example

OF_TASKS = {task.__module__.split(".")[-2].replace("_", "-") for _, task in tasks.items()}
ALL = sorted({*sources.names(), *layouts.names(), *OF_TASKS})


def make(name, root):
    return sources.get(name)(root, "space", options(name))


def options(name):
    return getattr(example(name), "OPTIONS", {})


@pytest.mark.parametrize("name", ALL)
def test_a_data_set_has_its_page_and_its_tests(name, project):
    page = (project / "docs" / "datasets" / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith("# ")
    assert f"`{name}`" in page
    assert list(folder_of_tests(name).glob("test_*.py"))


@pytest.mark.parametrize("name", sources.names())
class TestEverySource:
    def test_says_what_it_is(self, name):
        cls = sources.get(name)
        for field in ("title", "licence", "unit", "patient_key", "citation", "url"):
            assert getattr(cls, field)
        assert cls.access in ("open", "registered", "credentialed")
        assert cls.__doc__

    def test_reads_records_from_pickled_references(self, name, tmp_path):
        write_example(name, tmp_path / "in")
        source = make(name, tmp_path / "in")
        refs = pickle.loads(pickle.dumps(source.index()))
        again = make(name, tmp_path / "in")
        records = [again.read(ref) for ref in refs]
        assert len({record.record_id for record in records}) == len(refs) >= 2
        for record, other in zip(records, source.iter_records(), strict=True):
            assert set(record.leads) == set(source.leads or LEADS)
            assert record.signal.dtype == np.float32
            assert record.patient_id.startswith("space:")
            np.testing.assert_array_equal(record.signal, other.signal)

    def test_names_the_files_it_reads(self, name, tmp_path):
        write_example(name, tmp_path / "in")
        source = make(name, tmp_path / "in")
        files = [path for ref in source.index() for path in source.files(ref)]
        named = {path for path in [*files, *source.tables()] if path.is_file()}
        held = {path for path in (tmp_path / "in").rglob("*") if path.is_file()}
        unread = getattr(example(name), "UNREAD", ())
        assert named == {path for path in held if not path.as_posix().endswith(unread)}

    def test_unknown_option(self, name, tmp_path):
        with pytest.raises(BadInputError, match="nonsense"):
            sources.get(name)(tmp_path, "s", {**options(name), "nonsense": 1})

    def test_absent_folder(self, name, tmp_path):
        with pytest.raises(BadInputError, match="absent does not exist"):
            make(name, tmp_path / "absent").index()

    def test_empty_folder(self, name, tmp_path):
        with pytest.raises(BadInputError):
            make(name, tmp_path).index()


@pytest.mark.parametrize("name", layouts.names())
class TestEveryLayout:
    def test_says_what_it_is(self, name):
        cls = layouts.get(name)
        assert cls.__doc__
        assert cls.Options.__doc__
        assert issubclass(cls.Options, CohortOptions)
        assert cls.Options().rates
        assert cls.Options().seconds > 0

    def test_its_reader_reads_it_back(self, name, tmp_path):
        """Without its faults, every record of a cohort is read, of as many patients."""
        if name not in sources.names():
            pytest.skip(f"no reader is named {name}")
        data = Simulated(name)
        written = data.write(tmp_path, 3)
        records = data.read(tmp_path)
        assert len(records) == len(written.rows)
        assert len({record.patient_id for record in records}) == 3
        assert all(np.isfinite(record.signal).all() for record in records)
