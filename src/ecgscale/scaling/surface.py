"""Data and model size together: the score over patients and encoder parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from ecgscale.scaling.axes import values
from ecgscale.scaling.claims import holm
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.design import Design
from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import Estimate, FloatArray, contrast_estimate, regular

TERMS = ("level", "patients", "parameters", "product")
"""Coefficients of the surface, in the order of the columns that `surface_weights` fits."""


@dataclass(frozen=True)
class Surface:
    """The surface of one objective at one endpoint, over encoders of one kind.

    Attributes
    ----------
    groups
        One for each encoder, by number of parameters.
    parameters
        Of each encoder.
    terms
        Of `TERMS`: the level in the middle of both axes, the slope per doubling of the patients at
        the mean log of the parameters, that per doubling of the parameters at the mean log of the
        patients, and what a doubling of the parameters adds to the slope on patients.
    p_holm
        Of the product, adjusted over the family (`surfaces`).
    problem
        Why there are no terms, or "".
    """

    groups: tuple[Group, ...]
    parameters: tuple[float, ...] = ()
    terms: dict[str, Estimate] = field(default_factory=dict)
    p_holm: float = math.nan
    problem: str = ""


def surface_weights(log_patients: FloatArray, log_parameters: FloatArray) -> FloatArray:
    """Return weights of the least-squares surface, shape (term, encoder, size).

    ``score = level + b x + c z + d x z`` with x and z the logarithms about their means. The grid is
    complete, so the four columns are orthogonal and d is the same as in the form without centring.

    Parameters
    ----------
    log_patients, log_parameters
        Shapes (size,) and (encoder,), each with two different values at least.
    """
    x, z = log_patients - log_patients.mean(), log_parameters - log_parameters.mean()
    columns = [np.outer(a, b) for a in (np.ones_like(z), z) for b in (np.ones_like(x), x)]
    level, on_x, on_z, product = (column / (column**2).sum() for column in columns)
    return np.array([level, on_x, on_z, product])


def surfaces(
    design: Design, collection: Collection, groups: Sequence[Group], confidence: float
) -> list[Surface]:
    """Return a surface for each objective, endpoint and kind of encoder with several sizes.

    Each replicate has a surface of its own, fitted by least squares; a coefficient is then a
    contrast of the replicate's scores like any other, with test patients counted once.

    Parameters
    ----------
    groups
        Of any endpoints; Holm's adjustment of the product is over the objectives and kinds of
        encoder of an endpoint.
    """

    def key(group: Group) -> tuple[str, str, str]:
        return group.endpoint.name, group.objective, design.kinds[group.encoder]

    found = []
    for _, members in groupby(sorted(groups, key=key), key):
        family = tuple(members)
        if len(family) > 1:
            found.append(_surface(collection, family, confidence))
    order = {endpoint.name: place for place, endpoint in enumerate(design.endpoints)}
    found.sort(key=lambda one: order[one.groups[0].endpoint.name])
    return [
        one
        for _, family in groupby(found, lambda one: one.groups[0].endpoint.name)
        for one in _adjusted(list(family))
    ]


def _adjusted(family: Sequence[Surface]) -> list[Surface]:
    values = [one.terms["product"].p if one.terms else math.nan for one in family]
    return [replace(one, p_holm=p) for one, p in zip(family, holm(values), strict=True)]


def _surface(collection: Collection, groups: tuple[Group, ...], confidence: float) -> Surface:
    lacking = next((group for group in groups if group.problem), None)
    if lacking is not None:
        return Surface(groups, problem=f"{lacking.encoder}: {lacking.problem}")
    counts = [values(collection, group, "parameters") for group in groups]
    if any(np.isnan(count).any() for count in counts):
        return Surface(groups, problem="the number of parameters is not recorded for every run")
    if any(np.ptp(count) for count in counts):
        return Surface(groups, problem="runs of one encoder differ in their number of parameters")
    ordered = sorted(zip(counts, groups, strict=True), key=lambda pair: float(pair[0][0, 0]))
    groups = tuple(group for _, group in ordered)
    parameters = tuple(float(count[0, 0]) for count, _ in ordered)
    if len(set(parameters)) < len(parameters):
        return Surface(groups, parameters, problem="two encoders have equally many parameters")
    shared = regular([b for b in groups[0].blocks if all(b in g.blocks for g in groups)])
    if not shared:
        return Surface(groups, parameters, problem="the encoders have no replicate in common")
    places = [[group.blocks.index(block) for block in shared] for group in groups]
    resamples = min(len(group.replicates) for group in groups)
    pairs = list(zip(groups, places, strict=True))
    # Shapes (block, encoder, size) and (resample, block, encoder, size).
    score = np.stack([group.score[ours] for group, ours in pairs], axis=1)
    drawn = np.stack([g.replicates[:resamples, ours] for g, ours in pairs], axis=2)
    weights = surface_weights(np.log2(groups[0].sizes), np.log2(parameters))
    terms = {
        name: contrast_estimate(
            np.tensordot(score, each, 2), np.tensordot(drawn, each, 2), shared, confidence
        )
        for name, each in zip(TERMS, weights, strict=True)
    }
    return Surface(groups, parameters, terms)
