"""Linear probes: L2-penalised logistic regressions, or ridge regressions, of an embedding.

All labels share the embeddings, so all are fitted at once: the logistic ones for one penalty after
the other, the ridge ones for all penalties in closed form.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ecgscale.evaluation.metrics.functions import Bools, Floats

TOLERANCE = 1e-5
"""How far (nats per example) from its minimum a converged loss can be."""

_MEMORY = 20
"""Past steps that L-BFGS remembers."""

_SUFFICIENT = 1e-4
"""Share of the decrease promised by the gradient that a step must deliver (Armijo)."""


@dataclass(frozen=True)
class Probe:
    """The probe of every label of a task, or of every number, at one penalty.

    Attributes
    ----------
    penalty
        L2 penalty per training example.
    weight
        Shape (dim, label), for embeddings as they are (standardisation is folded in).
    bias
        Shape (label,).
    """

    penalty: float
    weight: Floats
    bias: Floats

    def scores(self, x: npt.ArrayLike) -> Floats:
        """Return log odds or values, shape (example, label), of embeddings (example, dim)."""
        return np.asarray(np.asarray(x, dtype=np.float64) @ self.weight + self.bias)


@dataclass(frozen=True)
class LinearProbe(Probe):
    """A logistic probe, which is fitted by iteration, and how that ended.

    Attributes
    ----------
    loss
        Shape (label,), the minimised objective in nats: mean logistic loss plus
        ``penalty / 2 * |w|^2``, with w the weights on the standardised embedding.
    converged
        Shape (label,), whether `loss` is within `TOLERANCE` of its minimum.
    constant
        Shape (label,), labels of one class in training; they predict their smoothed prevalence.
    """

    loss: Floats
    converged: Bools
    constant: Bools


def fit_linear_probes(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    penalties: Sequence[float],
    *,
    max_iterations: int = 100,
    device: torch.device | str = "cpu",
) -> list[LinearProbe]:
    """Fit a linear probe of every label for every penalty.

    Minimises, for each label, ``mean(log(1 + exp(-s z))) + penalty / 2 * |w|^2`` over w and b, with
    s = +-1 the target and z = w x + b, x standardised by the training mean and standard deviation:
    scikit-learn's ``LogisticRegression(C=1 / (n * penalty))``. Solved by L-BFGS (Nocedal & Wright,
    Numerical Optimization, 2nd ed., algorithm 7.5) in the principal axes of x, preconditioned with
    the Hessian for the mean curvature over examples, which is diagonal there.

    Parameters
    ----------
    x
        Shape (example, dim), training embeddings.
    y
        Shape (example, label), 0 or 1.
    penalties
        L2 penalties per training example.
    max_iterations
        Of L-BFGS, per penalty; each penalty starts from the next stronger one's solution.
    device
        Where to compute (in float64).

    Returns
    -------
    list of LinearProbe
        One per distinct penalty, strongest first.
    """
    features = torch.as_tensor(np.asarray(x), device=device).double()
    target = torch.as_tensor(np.asarray(y) == 1, device=device).double()
    mean, scale = _standard(features)
    standard = (features - mean) * scale
    axes, variance = _principal_axes(standard)
    problem = _Logistic(standard @ axes, target, variance)
    fitted = torch.zeros(len(variance) + 1, target.shape[1], dtype=torch.float64, device=device)
    fitted[-1] = problem.prior
    probes = []
    for penalty in sorted(set(penalties), reverse=True):
        fitted, loss, converged = problem.minimise(fitted, penalty, max_iterations)
        weight = scale[:, None] * (axes @ fitted[:-1])
        parts = (weight, fitted[-1] - mean @ weight, loss, converged, problem.constant)
        probes.append(LinearProbe(penalty, *(part.cpu().numpy() for part in parts)))
    return probes


def fit_ridge_probes(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    penalties: Sequence[float],
    *,
    device: torch.device | str = "cpu",
) -> list[Probe]:
    """Fit a ridge regression of every column for every penalty, in closed form.

    Minimises ``mean((w x + b - y)^2) / 2 + penalty / 2 * |w|^2`` over w and b (the intercept is not
    penalised), x standardised by the training mean and standard deviation: scikit-learn's
    ``Ridge(alpha=n * penalty)``. With the eigenvectors ``v_k`` and eigenvalues ``d_k`` of the
    correlation matrix, ``w = sum_k v_k (v_k' X'y / n) / (d_k + penalty)`` (Hoerl & Kennard,
    Technometrics 12:55-67, 1970), so one decomposition serves all penalties.

    Parameters and order of the result are those of `fit_linear_probes`; y has values.
    """
    features = torch.as_tensor(np.asarray(x), device=device).double()
    target = torch.as_tensor(np.asarray(y), device=device).double()
    mean, scale = _standard(features)
    standard = (features - mean) * scale
    axes, variance = _principal_axes(standard)
    level = target.mean(dim=0)
    along = axes.T @ (standard.T @ (target - level)) / len(target)
    probes = []
    for penalty in sorted(set(penalties), reverse=True):
        weight = scale[:, None] * (axes @ (along / (variance[:, None] + penalty)))
        bias = level - mean @ weight
        probes.append(Probe(penalty, weight.cpu().numpy(), bias.cpu().numpy()))
    return probes


def _standard(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of each column and what standardises it: 1 / SD."""
    mean = x.mean(dim=0)
    sd = x.std(dim=0, correction=0)
    # A column that is constant in training says nothing, whatever it is elsewhere.
    return mean, torch.where(sd > 1e-12 * mean.abs(), 1 / sd, 0.0)


def _principal_axes(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the axes (dim, rank) along which x varies and the variance along each.

    The penalised optimum has no part outside of them.
    """
    variance, axes = torch.linalg.eigh(x.T @ x / len(x))
    kept = variance > 1e-12 * variance[-1]
    return axes[:, kept], variance[kept]


class _Logistic:
    """Logistic regressions of several labels on one matrix; parameters are (coordinate, label).

    The last coordinate is the intercept, which is not penalised.
    """

    def __init__(self, x: Tensor, target: Tensor, variance: Tensor) -> None:
        self.x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
        self.y = target
        self.variance = torch.cat([variance, variance.new_ones(1)])
        positives = target.sum(dim=0)
        self.constant = (positives == 0) | (positives == len(target))
        # Half an example of each class keeps the log odds of a constant label finite.
        prevalence = (positives + 0.5 * self.constant) / (len(target) + 1.0 * self.constant)
        self.prior = torch.logit(prevalence)

    def minimise(
        self, start: Tensor, penalty: float, max_iterations: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the parameters, the objective and whether it converged, per label."""
        ridge = torch.full_like(self.variance, penalty)
        ridge[-1] = 0.0
        theta = start.clone()
        z = self.x @ theta
        curvature = _curvature(z)
        preconditioner = 1 / (self.variance[:, None] * curvature + ridge[:, None])
        value, gradient = self._value(theta, z, ridge), self._gradient(theta, z, ridge)
        done = self._is_minimum(gradient, z, penalty)
        memory: list[tuple[Tensor, Tensor]] = []
        for _ in range(max_iterations):
            if bool(done.all()):
                break
            direction = -_inverse_hessian_times(gradient, memory, preconditioner)
            direction[:, done] = 0.0
            slope = (gradient * direction).sum(dim=0)
            step, value, z = self._search(theta, direction, z, value, slope, ridge)
            moved = step * direction
            theta = theta + moved
            before, gradient = gradient, self._gradient(theta, z, ridge)
            memory = [*memory[1 - _MEMORY :], (moved, gradient - before)]
            done = done | self._is_minimum(gradient, z, penalty)
        return theta, value, done

    def _value(self, theta: Tensor, z: Tensor, ridge: Tensor) -> Tensor:
        loss = torch.nn.functional.softplus(z) - self.y * z
        return loss.mean(dim=0) + (ridge[:, None] * theta.square()).sum(dim=0) / 2

    def _gradient(self, theta: Tensor, z: Tensor, ridge: Tensor) -> Tensor:
        return self.x.T @ (torch.sigmoid(z) - self.y) / len(z) + ridge[:, None] * theta

    def _is_minimum(self, gradient: Tensor, z: Tensor, penalty: float) -> Tensor:
        """Return whether the objective is within `TOLERANCE` of its minimum.

        It is strongly convex in the weights with modulus `penalty`, so they can gain at most
        ``|g|^2 / (2 penalty)``; what the intercept can gain is taken to second order.
        """
        gain = gradient[:-1].square().sum(dim=0) / penalty + gradient[-1].square() / _curvature(z)
        return (gain / 2 <= TOLERANCE) | self.constant

    def _search(
        self,
        theta: Tensor,
        direction: Tensor,
        z: Tensor,
        value: Tensor,
        slope: Tensor,
        ridge: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Halve each label's step until it decreases the objective enough.

        Returns the steps, the objective there and the log odds there.
        """
        change = self.x @ direction
        step = torch.ones_like(value)
        for _ in range(40):
            reached = self._value(theta + step * direction, z + step * change, ridge)
            short = reached > value + _SUFFICIENT * step * slope
            if not bool(short.any()):
                break
            step = torch.where(short, step / 2, step)
        else:
            # Rounding hides what is left to gain.
            step = torch.where(short, 0.0, step)
            reached = torch.where(short, value, reached)
        return step, reached, z + step * change


def _curvature(log_odds: Tensor) -> Tensor:
    """Return shape (label,): the mean second derivative of the logistic loss."""
    probability = torch.sigmoid(log_odds)
    return (probability * (1 - probability)).mean(dim=0).clamp(min=1e-12)


def _inverse_hessian_times(
    gradient: Tensor, memory: list[tuple[Tensor, Tensor]], preconditioner: Tensor
) -> Tensor:
    """Multiply by the L-BFGS estimate of the inverse Hessian, each label with its own."""
    result = gradient.clone()
    shares = []
    for moved, turned in reversed(memory):
        inverse = _inverse_or_zero((moved * turned).sum(dim=0))
        share = inverse * (moved * result).sum(dim=0)
        result = result - share * turned
        shares.append((inverse, share))
    result = preconditioner * result
    if memory:
        moved, turned = memory[-1]
        along = (moved * turned).sum(dim=0)
        size = along * _inverse_or_zero((turned * preconditioner * turned).sum(dim=0))
        result = torch.where(size > 0, size, torch.ones_like(size)) * result
    for (moved, turned), (inverse, share) in zip(memory, reversed(shares), strict=True):
        result = result + (share - inverse * (turned * result).sum(dim=0)) * moved
    return result


def _inverse_or_zero(value: Tensor) -> Tensor:
    """Return 1 / value where it is positive, else 0: that label then skips the pair."""
    return torch.where(value > 0, 1 / value, 0.0)
