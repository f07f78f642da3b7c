"""Several wishes at once: the model closest to p with E fᵢ ≥ cᵢ, = cᵢ or ≤ cᵢ for each i.

It is the tilt q ∝ p exp(Σ λᵢ fᵢ) whose multipliers λ minimize log E_p exp(λ·(f − c)), with λᵢ ≥ 0
for at least and ≤ 0 for at most. That is convex, with the gradient E_q f − c. A wish that the
others grant already has λᵢ = 0. Pure functions, float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from btgm_cli.tilt.bisection import bisect
from btgm_cli.tilt.estimates import effective_sample_size

MOST_STEPS = 200

SLOPE = 1e-12
"""Deviations of fᵢ that its mean may be off; about what float64 can tell."""

FURTHEST = 1e4
"""Deviations that no tilt is strong by; a minimizer without bounds leaps too far to come back."""

LEAST_ESS = 0.02
"""Share of the draws that must stay effective: beyond, their weights say little."""


@dataclass(frozen=True)
class Bounds:
    """Of multipliers: 0 or more, unless other ones are given; each of shape (m,)."""

    least: Tensor
    most: Tensor

    @classmethod
    def at_least(cls, m: int) -> Bounds:
        """Of m wishes for at least something."""
        return cls(torch.zeros(m).double(), torch.full((m,), math.inf).double())


def solve(
    f: Tensor,
    goal: Tensor,
    start: Tensor,
    bounds: Bounds | None = None,
    log_weights: Tensor | None = None,
) -> Tensor:
    """λ, shape (m,), from a model's own draws, by quasi-Newton steps within bounds (L-BFGS-B).

    Where its draws are too few to tell more, as far as they can, which is a step on the way.

    Args:
        f: criteria on draws of the model q_start, shape (n, m).
        goal: c, shape (m,).
        start: λ of that model, shape (m,), within the bounds.
        bounds: of λ; None is for E fᵢ ≥ cᵢ.
        log_weights: by which the draws are those of q_start, shape (n,), nats; None if they are.
    """
    f, goal, start = f.double(), goal.double(), start.double()
    bounds = bounds or Bounds.at_least(len(start))
    scale = f.std(0)
    scale = torch.where(scale > 0, scale, 1.0)
    least, most = (bounds.least - start) * scale, (bounds.most - start) * scale
    step = _minimum(_Potential((f - goal) / scale, log_weights), least, most)
    found = torch.where(step > least, start + step / scale, bounds.least)
    return torch.where(step < most, found, bounds.most)


class _Potential:
    """log E exp(step · away), and how far its draws can tell it.

    Args:
        away: f − c in deviations of f, shape (n, m).
        log_weights: of the draws, shape (n,), nats; None where all are alike.
    """

    def __init__(self, away: Tensor, log_weights: Tensor | None = None) -> None:
        self.away = away
        equal = torch.zeros(len(away)).to(away)
        self.log_weights = equal if log_weights is None else log_weights.double()
        self.last = np.zeros(away.shape[1])
        self.lost: np.ndarray | None = None

    def __call__(self, step: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient."""
        log_w = self._at(step)
        value = torch.logsumexp(log_w, 0).item() - math.log(len(log_w))
        return value, (torch.softmax(log_w, 0) @ self.away).numpy()

    def sees(self, step: np.ndarray) -> bool:
        """Do draws enough stay effective there?"""
        log_w = self._at(step)
        return effective_sample_size(log_w) >= LEAST_ESS * len(log_w)

    def _at(self, step: np.ndarray) -> Tensor:
        """Log weights there."""
        return self.away @ torch.from_numpy(step) + self.log_weights

    def keep(self, step: np.ndarray) -> None:
        """Note an iterate; the first one out of sight stops the minimizer."""
        if not self.sees(step):
            self.lost = step
            raise StopIteration
        self.last = step

    def furthest(self) -> np.ndarray:
        """The last iterate, or where sight was lost behind it."""
        if self.lost is None:
            return self.last
        way = self.lost - self.last
        share, _ = bisect(lambda share: self.sees(self.last + share * way), 0.0, 1.0, 30)
        return self.last + share * way


def _minimum(potential: _Potential, least: Tensor, most: Tensor) -> Tensor:
    """The step (m,) from 0, within these bounds and at most as far as the draws can tell."""
    # Imported here: it takes a third of a second, which `btgm --help` need not wait for.
    from scipy.optimize import minimize  # noqa: PLC0415

    # No upper bounds where there are none: with bounds on all sides its first step is not held to
    # length one, and leaves what the draws can tell.
    above = [bound if math.isfinite(bound) else None for bound in most.tolist()]
    minimize(
        potential,
        potential.last,
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(least.clamp(min=-FURTHEST).tolist(), above, strict=True)),
        callback=potential.keep,
        options={"maxiter": MOST_STEPS, "ftol": 0.0, "gtol": SLOPE},
    )
    return torch.from_numpy(potential.furthest())
