"""Several wishes at once: the model closest to p with E fᵢ ≥ cᵢ for each i.

It is the tilt q ∝ p exp(Σ λᵢ fᵢ) whose multipliers λ ≥ 0 minimize log E_p exp(λ·(f − c)). That is
convex, with the gradient E_q f − c. A wish that the others grant already has λᵢ = 0. Pure
functions, float64.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from btgm_cli.tilt.bisection import bisect
from btgm_cli.tilt.estimates import effective_sample_size

MOST_STEPS = 200

SLOPE = 1e-12
"""Deviations of fᵢ that its mean may be off; about what float64 can tell."""

LEAST_ESS = 0.02
"""Share of the draws that must stay effective: beyond, their weights say little."""


def solve(f: Tensor, at_least: Tensor, start: Tensor) -> Tensor:
    """λ, shape (m,), from a model's own draws, by quasi-Newton steps within bounds (L-BFGS-B).

    Where its draws are too few to tell more, as far as they can, which is a step on the way.

    Args:
        f: criteria on draws of the model q_start, shape (n, m).
        at_least: c, shape (m,).
        start: λ of that model, shape (m,), 0 or more.
    """
    f, at_least, start = f.double(), at_least.double(), start.double()
    scale = f.std(0)
    scale = torch.where(scale > 0, scale, 1.0)
    least = -start * scale
    step = _minimum(_Potential((f - at_least) / scale), least)
    return torch.where(step > least, start + step / scale, 0.0)


class _Potential:
    """log E exp(step · away), and how far its draws can tell it.

    Args:
        away: f − c in deviations of f, shape (n, m).
    """

    def __init__(self, away: Tensor) -> None:
        self.away = away
        self.last = np.zeros(away.shape[1])
        self.lost: np.ndarray | None = None

    def __call__(self, step: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient."""
        log_w = self.away @ torch.from_numpy(step)
        value = torch.logsumexp(log_w, 0).item() - math.log(len(log_w))
        return value, (torch.softmax(log_w, 0) @ self.away).numpy()

    def sees(self, step: np.ndarray) -> bool:
        """Do draws enough stay effective there?"""
        log_w = self.away @ torch.from_numpy(step)
        return effective_sample_size(log_w) >= LEAST_ESS * len(log_w)

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


def _minimum(potential: _Potential, least: Tensor) -> Tensor:
    """The step (m,), at least `least` and at most as far as the draws can tell, from 0."""
    # Imported here: it takes a third of a second, which `btgm --help` need not wait for.
    from scipy.optimize import minimize  # noqa: PLC0415

    minimize(
        potential,
        potential.last,
        jac=True,
        method="L-BFGS-B",
        bounds=[(bound, None) for bound in least.tolist()],
        callback=potential.keep,
        options={"maxiter": MOST_STEPS, "ftol": 0.0, "gtol": SLOPE},
    )
    return torch.from_numpy(potential.furthest())
