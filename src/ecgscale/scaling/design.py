"""What a study set out to measure, as far as the statistics need to know."""

from dataclasses import dataclass

from ecgscale.evaluation.endpoints import Endpoint


@dataclass(frozen=True)
class Design:
    """The grid of a study (`ecgscale.study.design.study_design`).

    Attributes
    ----------
    objectives
        Those that are pretrained at every size, variants included.
    regimes, control_of
        Of each of them: its training regime, and the objective that it is a variant of, or None.
    arm_of, without
        Of each of them: the objective that it repeats under another training or on fewer sources,
        or None, and the sources that it is trained without.
    kinds
        Of each encoder.
    sizes
        Pretraining patients, ascending.
    blocks
        (order, seed) of every replicate.
    endpoints
        What every cell is measured by: all tasks under the first protocol, then under the others.
    primary
        The one that decides.
    baselines
        Names of the baselines.
    cells
        Names of all cells that there should be: of the grid, controls, baselines.
    pretrained
        Those that cannot do without a pretraining run.
    smallest_effect
        Change of the primary metric per doubling from which on an effect is of interest, in its
        unit.
    positive_controls, negative_controls
        Those of the objectives that must gain from more patients, and those that learn from
        records with nothing to gain (`control_of` says of which objective).
    """

    objectives: tuple[str, ...]
    regimes: dict[str, str]
    control_of: dict[str, str | None]
    arm_of: dict[str, str | None]
    without: dict[str, tuple[str, ...]]
    encoders: tuple[str, ...]
    kinds: dict[str, str]
    sizes: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]
    endpoints: tuple[Endpoint, ...]
    primary: Endpoint
    baselines: tuple[str, ...]
    cells: tuple[str, ...]
    pretrained: frozenset[str]
    smallest_effect: float
    positive_controls: tuple[str, ...] = ()
    negative_controls: tuple[str, ...] = ()

    @property
    def declared(self) -> tuple[str, ...]:
        """The objectives that the pre-declared tests are about: no variants, arms or controls."""
        return tuple(
            name
            for name in self.objectives
            if self.control_of[name] is None
            and self.arm_of[name] is None
            and name not in self.positive_controls
        )

    @property
    def tests(self) -> int:
        """How many tests are pre-declared: the family of Holm's adjustment."""
        return len(self.declared) * len(self.encoders)

    @property
    def tasks(self) -> tuple[Endpoint, ...]:
        """Every task under the first protocol."""
        return tuple(e for e in self.endpoints if e.protocol == self.primary.protocol)

    @property
    def readouts(self) -> tuple[Endpoint, ...]:
        """The primary task under every protocol."""
        return tuple(e for e in self.endpoints if e.task == self.primary.task)
