"""Which terms an objective's loss has, found by running it."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from ecgscale.ledger.base import Check, CheckParams, Finding, checks
from ecgscale.ledger.study import StudyAtHand
from ecgscale.objectives.base import Batch, Objective, create, objectives

RECORDS, SECONDS, FS = 8, 4, 100


class LossTermsParams(CheckParams):
    """Parameters of `LossTerms`."""

    objective: str
    terms: dict[str, dict[str, Any]] = Field(min_length=1)
    """Name of a part of the loss to the objective's parameters that take its effect away."""


@checks.register("loss-terms")
class LossTerms(Check):
    """A loss names some terms, and each of them acts on the encoder's gradient."""

    Params: ClassVar[type[CheckParams]] = LossTermsParams

    @classmethod
    def code(cls, given: Mapping[str, Any]) -> tuple[type, ...]:
        """Return the objective and the encoder that it is run with."""
        from ecgscale.encoders.base import encoders

        return objectives.get(given["objective"]), encoders.get("net1d")

    def run(self, study: StudyAtHand) -> Finding:
        """Run the loss on a small random batch, with each term and without it."""
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # on so few records, more of them only wait for each other
        try:
            return self._run()
        finally:
            torch.set_num_threads(threads)

    def _run(self) -> Finding:
        parts, whole = self._gradient({})
        said, all_act = [], True
        for term, off in self.params.terms.items():
            if term not in parts:
                said.append(f"{term} is no part of it")
                all_act = False
                continue
            _, without = self._gradient(off)
            changed = float((whole - without).norm() / whole.norm())
            acts = changed > 1e-6
            all_act &= acts
            words = ", ".join(f"{key}: {value}" for key, value in off.items())
            said.append(
                f"{term} is {parts[term]:.4g}, and the gradient "
                + (f"changes by {changed:.2g} of its length" if acts else "is the same")
                + f" under {words}"
            )
        return Finding(
            "supported" if all_act else "contradicted",
            f"Run on {RECORDS} random records, the loss of {self.params.objective} has these "
            f"parts: {'; '.join(said)}.",
        )

    def _gradient(self, changes: Mapping[str, Any]) -> tuple[dict[str, float], Any]:
        """Return the parts of the loss, and its gradient over all weights of the encoder."""
        import torch

        from ecgscale.data.augment import Augmenter
        from ecgscale.data.augment_settings import AugmentConfig
        from ecgscale.data.recipe import Recipe
        from ecgscale.encoders.base import create as create_encoder

        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = create_encoder("net1d", size="tiny", in_channels=1)
            made: Objective = create(self.params.objective, encoder, n_labels=2, **changes)
            drawn = torch.Generator().manual_seed(1)
            batch = Batch(
                signal=torch.randn(RECORDS, 1, SECONDS * FS, generator=drawn),
                risk=torch.rand(RECORDS, generator=drawn),
                completeness=torch.rand(RECORDS, generator=drawn),
                targets=(torch.rand(RECORDS, 2, generator=drawn) < 0.5).float(),
            )
            recipe = Recipe(leads=("II",))
            augment = Augmenter(AugmentConfig(), float(FS), 1, recipe, drawn)
            out = made.loss(encoder, made.views(batch, augment))
            out.loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad.flatten() for p in encoder.parameters() if p.grad is not None]
        return {name: float(value) for name, value in out.parts.items()}, torch.cat(gradients)
