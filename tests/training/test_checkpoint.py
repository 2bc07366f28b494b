import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ecgscale.training.checkpoint import CheckpointDirectory

CPU = torch.device("cpu")


def state(step: int) -> dict[str, object]:
    return {"step": step, "weights": {"w": torch.full((50,), float(step))}, "curve": [(step, 0.5)]}


def filled(tmp_path: Path, *steps: int) -> CheckpointDirectory:
    checkpoints = CheckpointDirectory(tmp_path / "work")
    for step in steps:
        checkpoints.save(step, state(step))
    return checkpoints


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert CheckpointDirectory(tmp_path / "absent").load(CPU) is None


def test_newest_of_two_kept_is_loaded(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 5, 10, 100)
    assert len(list(checkpoints.path.iterdir())) == 2
    loaded = checkpoints.load(CPU)
    assert loaded is not None
    assert loaded["step"] == 100
    assert loaded["curve"] == [(100, 0.5)]
    assert torch.equal(loaded["weights"]["w"], torch.full((50,), 100.0))


def flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, lambda content: content[:-7], lambda content: b"", lambda content: b"rubbish"],
    ids=["bit", "truncated", "empty", "rubbish"],
)
def test_damage_falls_back_to_the_one_before(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    checkpoints = filled(tmp_path, 5, 10)
    newest = max(checkpoints.path.iterdir())
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.warns(UserWarning, match=newest.name):
        loaded = checkpoints.load(CPU)
    assert loaded is not None
    assert loaded["step"] == 5


def test_all_damaged_is_a_fresh_start(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 5, 10)
    for path in checkpoints.path.iterdir():
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"):
        assert checkpoints.load(CPU) is None


def test_unfinished_files_are_ignored_and_cleared(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 5)
    unfinished = checkpoints.path / ".step-000000009-0123456789abcdef.pt.k1ll3d"
    unfinished.write_bytes(b"half")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = checkpoints.load(CPU)
    assert loaded is not None
    assert loaded["step"] == 5
    checkpoints.save(10, state(10))
    assert not unfinished.exists()
