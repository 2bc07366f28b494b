"""Fixtures that several test folders share."""

import os
import shutil
from pathlib import Path

import pytest

# What a test leaves to be carried to a tracking store, it carries itself.
os.environ["ECGSCALE_COURIER"] = "off"

pytest_plugins = ["support.records", "support.sources"]

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Real recordings, or a skip that says why."""
    folder = Path(os.environ.get("ECGSCALE_RECORDINGS", ROOT.parent / "shared" / "ecg"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} does not exist (set ECGSCALE_RECORDINGS)")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium, or a skip that says why."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    return path
