"""A short cut of `make fuzz`: what is damaged is read, set aside or refused, and nothing else."""

import numpy as np
import pytest

from ecgscale.data.sources import QuarantineError
from ecgscale.data.sources.folder import Folder
from support import fuzz


@pytest.mark.parametrize("kind", fuzz.kinds())
def test_damaged_files_are_read_set_aside_or_refused(kind):
    found = fuzz.run_cases(kind, range(15))
    assert not found.violations
    assert found.cases == 15
    assert found.read + sum(found.quarantined.values()) + found.refused >= 15


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (lambda root: {}["absent"], "KeyError"),
        (lambda root: _set_aside((root.parent / "secret.dat").read_bytes()), "secret.dat"),
        (lambda root: _set_aside(np.ones(2**28)), "2.0 GiB more"),
        (lambda root: _forever(), "longer than 1 s"),
    ],
    ids=["crash", "elsewhere", "memory", "hang"],
)
def test_what_no_reader_may_do_is_named(monkeypatch, does, said):
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    monkeypatch.setattr(Folder, "load", lambda source, ref: does(source.root))
    found = fuzz.run_cases("csv", range(3))
    assert any(said in violation for violation in found.violations)


def _set_aside(_):
    raise QuarantineError("unreadable-file", "as if nothing had been read")


def _forever():
    while True:
        pass
