"""Credentials of the store stand in no file, on no page and on no console."""

import logging
import os

import pytest

from ecgscale.errors import BadInputError
from ecgscale.runs import address
from ecgscale.runs.store import check_store
from support.credentials import PASSWORD, USER, WRITTEN, assert_nowhere, use_store
from support.proxy import Proxy


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in (address.VARIABLE, address.USER, *address.SECRETS):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever is set meanwhile


@pytest.mark.parametrize(
    ("uri", "shown", "variables"),
    [
        (
            f"https://{WRITTEN}host:5000/mlflow",
            "https://host:5000/mlflow",
            {address.USER: USER, address.PASSWORD: PASSWORD},
        ),
        (
            f"postgresql+psycopg2://{WRITTEN}db/runs?sslmode=require",
            f"postgresql+psycopg2://{USER}@db/runs?sslmode=require",
            {"PGPASSWORD": PASSWORD},
        ),
        ("http://host:5000", "http://host:5000", {}),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db", {}),
    ],
)
def test_credentials_leave_the_address(tmp_path, monkeypatch, uri, shown, variables):
    monkeypatch.setenv(address.VARIABLE, uri)
    assert address.tracking_uri(tmp_path) == shown
    assert os.environ[address.VARIABLE] == shown
    assert {name: os.environ[name] for name in variables} == variables


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://ann:pw@host/db failed", "mysql://host/db failed"),
        ("at https://x:p@ss@host/a, https://host/b", "at https://host/a, https://host/b"),
        ("get http://host/?a=1&password=pw&b=2", "get http://host/?a=1&password=***&b=2"),
        ("password abcd-efgh was refused", "password *** was refused"),
        ("mail ann@host.org", "mail ann@host.org"),
    ],
)
def test_what_is_printed_holds_none(monkeypatch, text, shown):
    monkeypatch.setenv(address.PASSWORD, "abcd-efgh")
    assert address.redacted(text) == shown
    record = logging.LogRecord("x", logging.WARNING, "x.py", 1, "%s", (text,), None)
    assert address.Redacting().filter(record)
    assert record.getMessage() == shown


@pytest.mark.parametrize("uri", ["postgresql://", "http://", "mysql+pymysql://"])
def test_a_store_that_is_not_there_is_one_sentence(tmp_path, monkeypatch, uri):
    monkeypatch.setenv(address.VARIABLE, f"{uri}{WRITTEN}127.0.0.1:1/runs")
    with pytest.raises(BadInputError, match=r"127\.0\.0\.1:1/runs cannot be reached: ") as raised:
        check_store(tmp_path)
    assert PASSWORD not in str(raised.value)
    assert WRITTEN not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.long
def test_a_store_that_fails_leaves_no_credentials_behind(tmp_path):
    with Proxy() as proxy:
        proxy.set("failing")
        printed = use_store(tmp_path, proxy.address(WRITTEN))
    assert f"the tracking store http://127.0.0.1:{proxy.port} answers 500" in printed
    assert (tmp_path / "reports" / "index.html").is_file()
    assert_nowhere(tmp_path, printed)
