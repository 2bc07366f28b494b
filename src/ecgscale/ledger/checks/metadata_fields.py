"""What is known of the people behind the recordings."""

from typing import ClassVar

import pandas as pd
from pydantic import Field

from ecgscale.data.risk import risk_of
from ecgscale.data.store import records_schema
from ecgscale.ledger.base import Check, CheckParams, Finding, checks
from ecgscale.ledger.study import StudyAtHand

RISK = "risk"
"""In place of a column: the risk score, computed from columns."""


class MetadataFieldsParams(CheckParams):
    """Parameters of `MetadataFields`."""

    fields: tuple[str, ...] = Field(min_length=1)
    """Columns of a store's table of records, and ``risk``."""


@checks.register("metadata-fields")
class MetadataFields(Check):
    """The table of records has some columns, and a risk score can be computed from it."""

    Params: ClassVar[type[CheckParams]] = MetadataFieldsParams

    def run(self, study: StudyAtHand) -> Finding:
        """Look at the format, and say of how many records of the pool each field is known."""
        known = {*records_schema().names, RISK}
        absent = [name for name in self.params.fields if name not in known]
        said = []
        for source in study.pool:
            store = study.store(source)
            if store is None:
                said.append(f"the store of {source} is not here")
                continue
            records = store.records
            shares = [
                f"{name} {_share(records, name):.0%}"
                for name in self.params.fields
                if name not in absent
            ]
            kind = " (simulated)" if source in study.simulated else ""
            said.append(f"{source}{kind}: {', '.join(shares)}")
        has = f"has {', '.join(self.params.fields)}" if not absent else f"lacks {absent[0]}"
        return Finding(
            "contradicted" if absent else "supported",
            f"The table of records {has}. Known in the pool of this study: "
            f"{'; '.join(said) or 'nothing'}.",
        )


def _share(records: pd.DataFrame, name: str) -> float:
    column = risk_of(records)["score"] if name == RISK else records[name]
    return float(column.notna().mean()) if len(records) else 0.0
