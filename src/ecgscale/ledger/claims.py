"""Read ``claims.yaml``, and judge each claim by its checks."""

import ast
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from ecgscale import code
from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.ledger.base import Check, Finding, LedgerVerdict, checks
from ecgscale.ledger.study import StudyAtHand
from ecgscale.settings import Settings, first_problem, read_mapping

log = logging.getLogger(__name__)

ClaimKind = Literal["conceptual", "quantitative", "structural"]


class ClaimCheckError(StageFailedError):
    """A check of a claim no longer runs, or its evidence is gone; the message names the claim."""


class Evidence(Settings):
    """Where a claim can be looked up: exactly one of these.

    Attributes
    ----------
    file
        Of the project.
    symbol
        Of the package, ``<module>:<name>``.
    published
        A publication, by the name of its file in ``literature/``.
    csv
        A table of the report, by its path below ``reports/``.
    """

    file: str | None = None
    symbol: str | None = Field(default=None, pattern=r"^ecgscale(\.\w+)*:\w+$")
    published: str | None = None
    csv: str | None = None

    @model_validator(mode="after")
    def _one(self) -> "Evidence":
        if sum(value is not None for value in vars(self).values()) != 1:
            raise ValueError("evidence is one of file, symbol, published, csv")
        return self

    @property
    def text(self) -> str:
        """The link as text."""
        return next(f"{kind} {value}" for kind, value in vars(self).items() if value is not None)


class StatedClaim(Settings):
    """One claim of the ledger.

    Attributes
    ----------
    made_in
        Who made it, and where.
    checks
        Each names a registered check as ``check``, with its parameters beside it. All must support
        the claim; one that contradicts it decides.
    note
        What the verdict leaves open.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    claim: str = Field(min_length=1)
    kind: ClaimKind
    made_in: str = Field(min_length=1)
    checks: tuple[dict[str, Any], ...] = Field(min_length=1)
    evidence: tuple[Evidence, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Judged:
    """A claim with what its checks found, in their order."""

    claim: StatedClaim
    verdict: LedgerVerdict
    findings: tuple[tuple[str, Finding], ...]


def read_claims(path: Path) -> list[StatedClaim]:
    """Read a ledger; a file that does not exist holds no claim.

    Raises
    ------
    BadInputError
        If the file cannot be read, two claims have one id, or a claim has an unknown key, check or
        parameter; the message names the file and the claim.
    """
    if not path.is_file():
        return []
    stated = read_mapping(path)
    listed = stated.get("claims")
    if set(stated) != {"claims"} or not isinstance(listed, list):
        raise BadInputError(f"{path} must have one key, claims: a list of claims")
    found: list[StatedClaim] = []
    for place, given in enumerate(listed):
        claim = _claim(path, place, given)
        if any(claim.id == other.id for other in found):
            raise BadInputError(f"{path}: two claims have the id {claim.id}")
        found.append(claim)
    return found


def _claim(path: Path, place: int, given: Any) -> StatedClaim:
    name = given.get("id") if isinstance(given, dict) else None
    where = f"{path}, claim {name if isinstance(name, str) else place + 1}"
    try:
        claim = StatedClaim.model_validate(given)
        for stated in claim.checks:
            _check(stated)
    except ValidationError as error:
        raise BadInputError(f"{where}: {first_problem(error)}") from error
    except BadInputError as error:
        raise BadInputError(f"{where}: {error}") from error
    return claim


def _check(stated: dict[str, Any]) -> Check:
    """Return a check with its typed parameters."""
    given = dict(stated)
    name = given.pop("check", None)
    if not isinstance(name, str):
        raise BadInputError("each of its checks names one as `check`")
    return checks.get(name)(checks.params(name, given))


def code_of(claims: Iterable[StatedClaim]) -> list[type]:
    """Return the registered classes that decide the verdicts of some claims."""
    found: dict[type, None] = {}
    for claim in claims:
        for stated in claim.checks:
            given = {key: value for key, value in stated.items() if key != "check"}
            check = checks.get(stated["check"])
            found |= dict.fromkeys((check, *check.code(given)))
    return list(found)


def judge(
    claims: Iterable[StatedClaim], study: StudyAtHand, root: Path, tables: Collection[str] = ()
) -> list[Judged]:
    """Run the checks of every claim.

    Parameters
    ----------
    root
        The project, in which evidence names files.
    tables
        Tables of the report that evidence may name.

    Raises
    ------
    ClaimCheckError
        If a check fails to run, or evidence that a claim names is not there.
    """
    return [_judge(claim, study, root, tables) for claim in claims]


def _judge(claim: StatedClaim, study: StudyAtHand, root: Path, tables: Collection[str]) -> Judged:
    for evidence in claim.evidence:
        if not _is_there(evidence, study, root, tables):
            raise ClaimCheckError(f"claim {claim.id}: its evidence, {evidence.text}, is not there")
    findings = []
    for stated in claim.checks:
        try:
            findings.append((stated["check"], _check(stated).run(study)))
        except Exception as error:
            log.debug("claim %s", claim.id, exc_info=True)
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise ClaimCheckError(
                f"claim {claim.id}: its check {stated['check']} no longer runs: {text}"
            ) from error
    return Judged(claim, _verdict([finding for _, finding in findings]), tuple(findings))


def _verdict(findings: Sequence[Finding]) -> LedgerVerdict:
    verdicts = {finding.verdict for finding in findings}
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if verdicts == {"supported"} else "not testable here"


def _is_there(evidence: Evidence, study: StudyAtHand, root: Path, tables: Collection[str]) -> bool:
    if evidence.file is not None:
        return (root / evidence.file).exists()
    if evidence.published is not None:
        return study.published(evidence.published) is not None
    if evidence.csv is not None:
        return evidence.csv in tables
    return _defines(*str(evidence.symbol).split(":"))


def _defines(module: str, name: str) -> bool:
    """Return whether a module of the package defines a name, from its source."""
    path = code.ROOT.parent.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return False
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(_binds(node, name) for node in tree.body)


def _binds(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name == name
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)
