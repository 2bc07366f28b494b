"""The claims ledger: what was claimed, each with checks that run and the verdict they come to.

`base` has what a check is, `claims` reads ``claims.yaml`` and judges it, `study` is what checks see
of the study at hand; each module in `checks` is one kind of check, or a few that belong together.
"""

from ecgscale.ledger.base import Check, Finding, checks
from ecgscale.ledger.claims import CLAIMS, Judged, StatedClaim, judge, read_claims
from ecgscale.ledger.study import StudyAtHand

__all__ = [
    "CLAIMS",
    "Check",
    "Finding",
    "Judged",
    "StatedClaim",
    "StudyAtHand",
    "checks",
    "judge",
    "read_claims",
]
