"""The tracking store in PostgreSQL, asked directly and through a server that wants a password."""

import base64
import urllib.error
import urllib.request

import pytest

from ecgscale.errors import BadInputError
from ecgscale.pipeline.doctor import tracked_runs
from ecgscale.runs import store, tracking
from ecgscale.runs.address import PASSWORD, driver_trouble
from support.postgres import cluster
from support.server import mlflow_server
from support.tracked import keep, record


def test_a_missing_driver_is_named_with_its_extra():
    missing = ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
    wrapped = ImportError("Failed to import DB access module")
    wrapped.__cause__ = missing
    for error in (missing, wrapped):
        assert "pip install 'ecgscale[postgres]'" in driver_trouble(error)
    other = driver_trouble(ModuleNotFoundError("No module named 'psycopg2'", name="psycopg2"))
    assert "psycopg2" in other
    assert "postgresql+psycopg://" in other


@pytest.fixture(scope="module")
def postgres():
    with cluster() as running:
        yield running


def well(root):
    return all(finding.ok for finding in tracked_runs(root))


@pytest.mark.long
def test_a_store_by_its_own_address(postgres, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PGPASSWORD", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgres.create("direct"))
    kept = keep(tmp_path, record())
    store.check_store(tmp_path, whole=True)
    assert tracking.sync(tmp_path / "results", tmp_path).created == [f"pretrain/{kept.cell}"]
    assert tracking.sync(tmp_path / "results", tmp_path).created == []
    (found,) = tracking.query("trial", "pretrain", tmp_path)
    assert found.record.metrics["loss"] == 0.5
    (held,) = tracking.held([kept], tmp_path, thorough=True)
    assert held.problems == ()
    assert well(tmp_path)
    assert postgres.password not in capfd.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace("postgresql://", "postgresql+psycopg2://"), r"ecgscale\[postgres"),
        (lambda url: url.rpartition("/")[0] + "/nowhere", 'database "nowhere" does not exist'),
    ],
)
def test_a_store_that_cannot_be_used_is_one_sentence(postgres, tmp_path, monkeypatch, change, said):
    monkeypatch.setenv("PGPASSWORD", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", change(postgres.address("postgres")))
    with pytest.raises(BadInputError, match=said) as caught:
        store.check_store(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert postgres.password not in str(caught.value)


@pytest.mark.long
def test_a_server_with_basic_auth(postgres, tmp_path, monkeypatch):
    monkeypatch.delenv(PASSWORD, raising=False)
    runs, users = postgres.create("runs"), postgres.create("users")
    (tmp_path / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\n"
        f"database_uri = {users}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    secret = "a long made-up one"
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(tmp_path / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": secret,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "made up too",
    }
    root = tmp_path / "project"
    kept = keep(root, record())
    served = mlflow_server(
        tmp_path / "server", store=runs, options=["--app-name", "basic-auth"], **environment
    )
    with served as address:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(address)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(address, "admin:wrong")
        assert ask(address, f"admin:{secret}").status == 200

        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(BadInputError) as caught:
            tracking.sync(root / "results", root)
        assert len(str(caught.value).splitlines()) == 1

        host = address.removeprefix("http://")
        asked = f"http://admin:{secret.replace(' ', '%20')}@{host}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", asked)
        assert tracking.sync(root / "results", root).created == [f"pretrain/{kept.cell}"]
        (found,) = tracking.query("trial", "pretrain", root)
        assert found.record.metrics["loss"] == 0.5
        assert well(root)


def ask(address, credentials=""):
    request = urllib.request.Request(f"{address}/api/2.0/mlflow/experiments/get?experiment_id=0")
    if credentials:
        token = base64.b64encode(credentials.encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    return urllib.request.urlopen(request, timeout=30)
