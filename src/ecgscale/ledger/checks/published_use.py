"""What published models learn from."""

from typing import ClassVar, Literal

from pydantic import Field

from ecgscale.ledger.base import Check, CheckParams, Finding, checks
from ecgscale.ledger.study import StudyAtHand
from ecgscale.literature.publication import LearnsFrom


class PublishedUseParams(CheckParams):
    """Parameters of `PublishedUse`."""

    learns_from: LearnsFrom
    before: str = Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")
    """Month; publications of the months before it count."""
    models: Literal["none", "some"] = "none"
    """How many of them are claimed to."""


@checks.register("published-use")
class PublishedUse(Check):
    """No model, or some, published before a month learns from something."""

    Params: ClassVar[type[CheckParams]] = PublishedUseParams

    def run(self, study: StudyAtHand) -> Finding:
        """Look through the literature of the project."""
        params = self.params
        earlier = [
            (publication, model)
            for publication in study.publications
            if publication.published and publication.published < params.before
            for model in publication.models.values()
            if model.learns_from
        ]
        uses = sorted(
            {
                f"{model.title} ({publication.identifier}, {publication.published}) [{model.grade}]"
                for publication, model in earlier
                if params.learns_from in model.learns_from
            }
        )
        known = sorted({name for _, model in earlier for name in model.learns_from})
        text = (
            f"Of {len({model.title for _, model in earlier})} models in literature/ published "
            f"before {params.before}, which learn from {', '.join(known) or 'nothing known'}, "
            + (f"these learn from {params.learns_from}: " if uses else "none does.")
            + (f"{'; '.join(uses)}." if uses else "")
        )
        if not earlier:
            return Finding("not testable here", text)
        claimed = params.models == "some"
        return Finding("supported" if bool(uses) == claimed else "contradicted", text)
