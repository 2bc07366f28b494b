"""The claims ledger: what was claimed, each with checks that run and the verdict they come to.

`base` has what a check is, `claims` reads ``claims.yaml`` and judges it, `study` is what checks see
of the study at hand; each module in `checks` is one kind of check, or a few that belong together.
"""

from pathlib import Path

CLAIMS = Path("claims.yaml")
"""The ledger, in a project's folder."""
