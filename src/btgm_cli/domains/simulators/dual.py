"""The saddle point of a tilt by critics, as the maximum of its dual over their weights.

The least of size · W₁(data, q) + KL(q‖p) over q, with W₁ by the means Σ cₖ dₖ of critics that are
at hand, cₖ ≥ 0 and Σ cₖ ≤ 1, has a dual: the largest of −log E_p exp(size Σ cₖ (E_{x|θ} dₖ − d̄ₖ))
over c. That is concave, and its slope is how far the tilt's mean scores are from those of the
data. It is the fully corrective step of Frank and Wolfe's method, a new critic its next direction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from btgm_cli.domains.simulators.gaussian_process import Processes
from btgm_cli.tilt.estimates import effective_sample_size

VISITS = 25
"""Tilts drawn from, before the best of them is taken."""

ENOUGH = 0.1
"""nats of the dual: no more visits where all draws together promise less."""

NEWTON_STEPS, LEAST_STEP, LEAST_GAIN = 200, 1e-3, 1e-4
FEWEST_DRAWS = 100.0
"""Effective, of all that are known: weights go no further in one visit."""

JITTER = 1e-9


@dataclass(frozen=True)
class Scores:
    """Expected scores of critics as functions of θ, less those of the data.

    Beyond the box of all places they are those at its nearest side.

    Args:
        processes: of the scores over `spread`, with one kernel.
        spread: deviations of the scores in a unit, shape (K,).
        within: their correlations in a unit, shape (K, K).
        size: units of the data.
    """

    processes: Processes
    spread: Tensor
    within: Tensor
    size: int

    def means(self, u: Tensor) -> Tensor:
        """size (E d − d̄) over `spread`, shape (n, K), at u (n, P): what weights multiply."""
        return self.size * self.processes.mean(self.processes.inside(u))

    def errors(self, u: Tensor) -> Tensor:
        """Variance of the errors of E d, in those of one unit, shape (n,)."""
        return self.processes.mean_and_var(self.processes.inside(u))[1][:, 0]

    def ridge(self, u: Tensor) -> Tensor:
        """Covariance (K, K) of the errors of `means`, in the mean over u (n, P)."""
        error: Tensor = self.size**2 * self.errors(u).mean() * self.within
        return error

    def widening(self, u: Tensor) -> float:
        """Share that the errors have of the variance of scores of as many units as the data."""
        errors = self.errors(u)
        return (errors / (errors + 1 / self.size)).mean().item()


@dataclass(frozen=True)
class Visited:
    """Draws of a tilt.

    Args:
        means: of the scores, as `Scores.means`, shape (n, K).
        weights: of the tilt, shape (K,).
        log_z: nats.
        ridge: covariance of the means' errors, shape (K, K).
    """

    means: Tensor
    weights: Tensor
    log_z: float
    ridge: Tensor

    @property
    def value(self) -> float:
        """The dual there, less half the variance that the scores' errors give it, nats."""
        return -self.log_z - 0.5 * (self.weights @ self.ridge @ self.weights).item()


class Pool:
    """All draws of all visited tilts, as draws of their mixture (Veach & Guibas 1995).

    Args:
        visited: the tilts.
        ridge: covariance of the means' errors, shape (K, K).
        reach: `Scores.spread`, shape (K,): Σ wₖ / reachₖ ≤ 1 for weights w on `Scores.means`.
    """

    def __init__(self, visited: list[Visited], ridge: Tensor, reach: Tensor) -> None:
        self.means = torch.cat([one.means for one in visited])
        density = [
            math.log(len(one.means)) + self.means @ one.weights - one.log_z for one in visited
        ]
        self.log_density = torch.logsumexp(torch.stack(density), 0)
        self.ridge, self.reach = ridge, reach

    def log_weights(self, w: Tensor) -> Tensor:
        """Of the draws under weights w (K,), shape (n,)."""
        return self.means @ w - self.log_density

    def value(self, w: Tensor) -> float:
        """The dual at w as all draws know it, likewise less a half, nats."""
        return (-torch.logsumexp(self.log_weights(w), 0) - 0.5 * w @ self.ridge @ w).item()

    def step(self, w: Tensor) -> Tensor:
        """From w to the maximum of the dual's second-order model within reach."""
        share = torch.softmax(self.log_weights(w), 0)
        mean = share @ self.means
        away = self.means - mean
        curvature = away.T @ (share[:, None] * away) + self.ridge
        slope = -mean - self.ridge @ w
        return _highest(curvature, slope + curvature @ w, self.reach) - w

    def best(self, w: Tensor) -> Tensor:
        """From w as far up as the draws can tell."""
        value = self.value(w)
        for _ in range(NEWTON_STEPS):
            step, share = self.step(w), 1.0
            while share > LEAST_STEP and not self._may(w + share * step, value):
                share /= 2
            if share <= LEAST_STEP:
                break
            w = w + share * step
            gain, value = self.value(w) - value, self.value(w)
            if gain < LEAST_GAIN:
                break
        return w

    def _may(self, w: Tensor, value: float) -> bool:
        known = effective_sample_size(self.log_weights(w)) >= FEWEST_DRAWS
        return known and self.value(w) > value


def balanced(
    scores: Scores, draws: Callable[[Tensor, int], tuple[Tensor, float]], w: Tensor
) -> Tensor:
    """The weights (K,) of the dual's maximum.

    Args:
        scores: of all critics.
        draws: u (n, P) of the tilt by weights, in a visit of this number, and its log Z, nats.
        w: where to start, shape (K,).
    """
    visited: list[Visited] = []
    # Draws of p first: they tell of regions that no tilt has been in, and should not be in.
    for number, chosen in enumerate([torch.zeros_like(w), w, *[None] * VISITS]):
        if chosen is not None:
            w = chosen
        u, log_z = draws(w, number)
        visited.append(Visited(scores.means(u), w, log_z, scores.ridge(u)))
        top = max(visited, key=lambda one: one.value)
        pool = Pool(visited, top.ridge, scores.spread)
        w = pool.best(top.weights)
        if number and pool.value(w) - pool.value(top.weights) < ENOUGH:
            break
    return top.weights


def _highest(curvature: Tensor, slope: Tensor, reach: Tensor) -> Tensor:
    """The w ≥ 0 that maximizes slope·w − ½ w·curvature w with Σ wₖ / reachₖ ≤ 1, by NNLS."""
    K = len(slope)
    held = curvature + JITTER * curvature.diagonal().max() * torch.eye(K).to(curvature)
    factor = torch.linalg.cholesky(held)
    wanted = torch.linalg.solve_triangular(factor, slope[:, None], upper=False)[:, 0]
    rows = factor.T * reach
    # Weights, and what is left of their reach: their sum is held to one.
    hold = 1e3 * rows.abs().max()
    above = torch.cat([rows, torch.zeros(K, 1).to(rows)], 1)
    system = torch.cat([above, hold * torch.ones(1, K + 1).to(rows)])
    found, _ = nnls(system.numpy(), torch.cat([wanted, hold[None]]).numpy(), maxiter=100 * K)
    return torch.from_numpy(np.asarray(found))[:K] * reach
