"""How long the recordings of the pretraining pool are, and how many leads they have."""

from typing import ClassVar

from pydantic import Field

from ecgscale.ledger.base import Check, CheckParams, Finding, checks
from ecgscale.ledger.study import StudyAtHand

ALL = 0.99
"""Share of the recordings from which on all are said to be alike."""


class RecordingsParams(CheckParams):
    """Parameters of `Recordings`."""

    leads: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    """Length as published, before anything was cut."""
    reader: str | None = None
    """The data set that the claim is about; None for whatever the study pretrains on."""


@checks.register("recordings")
class Recordings(Check):
    """The recordings of the pretraining pool have so many leads and are so many seconds long."""

    Params: ClassVar[type[CheckParams]] = RecordingsParams

    def run(self, study: StudyAtHand) -> Finding:
        """Look at every recording in the stores of the pool."""
        params = self.params
        said, verdicts = [], set()
        for source in study.pool:
            store = study.store(source)
            if store is None:
                said.append(f"the store of {source} is not here")
                continue
            seconds = store.records["seconds"].to_numpy(dtype=float)
            alike = float((abs(seconds - params.seconds) < 0.05).mean()) if params.seconds else 1.0
            same = alike >= ALL and params.leads in (None, len(store.leads))
            kind = "simulated recordings" if source in study.simulated else "recordings"
            said.append(
                f"{source}: {len(store):,} {kind}, {len(store.leads)} leads, "
                f"{seconds.min():g} to {seconds.max():g} s"
                + (f" ({alike:.1%} of them {params.seconds:g} s)" if params.seconds else "")
            )
            about = params.reader in (None, study.readers.get(source))
            if about and source not in study.simulated:
                verdicts.add(same)
        text = f"Pool of this study: {'; '.join(said) or 'none'}."
        if not verdicts:
            what = f"real recordings of {params.reader}" if params.reader else "real recordings"
            return Finding("not testable here", f"This study has no {what}. {text}")
        return Finding("contradicted" if False in verdicts else "supported", text)
