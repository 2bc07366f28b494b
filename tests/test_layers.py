"""A room of the house imports only what lies below it."""

import ast

import pytest

LAYERS = (
    *("errors", "files", "settings", "progress", "code", "registry", "distributed", "device"),
    *(
        "runs",
        "literature",
        "data",
        "tasks",
        "datasets",
        "encoders",
        "objectives",
        "training",
        "evaluation",
    ),
    *("scaling", "ledger", "study", "report", "pipeline", "cli", "__main__"),
)
"""Rooms and single modules, from the ground up."""


def running(path):
    """Yield every node of a file but what is for type checkers alone."""
    waiting = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            waiting += ast.iter_child_nodes(node)


def imported(path):
    """Return the rooms that a file imports when it runs, anywhere in it."""
    found = set()
    for node in running(path):
        if isinstance(node, ast.ImportFrom) and node.module == "ecgscale":
            found |= {alias.name for alias in node.names}
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found |= {name.split(".")[1] for name in names if name.startswith("ecgscale.")}
    return found


@pytest.mark.parametrize("room", LAYERS)
def test_a_room_imports_only_what_lies_below(project, room):
    package = project / "src" / "ecgscale"
    files = [*(package / room).rglob("*.py")] or [package / f"{room}.py"]
    above = {
        f"{path.relative_to(package)} imports {other}"
        for path in files
        for other in imported(path)
        if LAYERS.index(other) > LAYERS.index(room)
    }
    assert not above


MLFLOW = {f"runs/{name}.py" for name in ("store", "view", "artifacts", "models")}
"""What may import MLflow: the store, what is written to it, and the models beside it. That an
encoder is loaded through MLflow needs no import of it (`ecgscale.evaluation.raw`)."""


def test_mlflow_is_imported_in_its_places_alone(project):
    package = project / "src" / "ecgscale"
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "import mlflow" in (text := path.read_text(encoding="utf-8")) or "from mlflow" in text
        if any(
            name.split(".")[0] == "mlflow"
            for node in running(path)
            for name in [
                *([node.module or ""] if isinstance(node, ast.ImportFrom) else []),
                *([a.name for a in node.names] if isinstance(node, ast.Import) else []),
            ]
        )
    }
    assert found == MLFLOW


def test_every_room_has_its_place(project):
    package = project / "src" / "ecgscale"
    rooms = {path.stem for path in package.iterdir() if not path.name.startswith("__pycache__")}
    assert rooms - {"__init__", "py"} == set(LAYERS)
