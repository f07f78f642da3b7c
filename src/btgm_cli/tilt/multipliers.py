"""Several wishes at once: the model closest to p with E fᵢ ≥ cᵢ for each i.

It is the tilt q ∝ p exp(Σ λᵢ fᵢ) whose multipliers λ ≥ 0 maximize the dual λ·c − log E_p exp(λ·f).
That is concave: its gradient is c − E_q f, and its Hessian is minus the covariance of f under q.
A wish that the others grant already has λᵢ = 0. Pure functions, float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from btgm_cli.tilt.estimates import effective_sample_size

MOST_STEPS = 200
LEAST_ESS = 0.02
"""Share of the draws that must stay effective: beyond, their covariance says little."""


def solve(f: Tensor, at_least: Tensor, start: Tensor) -> Tensor:
    """λ, shape (m,), by projected Newton steps from a model's own draws.

    Where its draws are too few to tell more, as far as they can, which is a step on the way.

    Args:
        f: criteria on draws of the model q_start, shape (n, m).
        at_least: c, shape (m,).
        start: λ of that model, shape (m,), 0 or more.
    """
    f, at_least, start = f.double(), at_least.double(), start.double()
    scale = f.std(0).clamp(min=1e-300)
    g, goal, least = f / scale, at_least / scale, -start * scale
    step = torch.zeros_like(least)  # of λ, in units of 1/scale
    for _ in range(MOST_STEPS):
        w = torch.softmax(g @ step, 0)
        mean = w @ g
        slope = goal - mean
        free = (step > least) | (slope > 0)
        if not (slope[free].abs() > 1e-9).any():
            break
        away = (g - mean)[:, free]
        covariance = (w[:, None] * away).T @ away
        ridge = 1e-9 * torch.eye(int(free.sum())).to(g)
        newton = torch.zeros_like(step)
        newton[free] = torch.linalg.solve(covariance + ridge, slope[free])
        moved = _climbed(g, goal, least, step, newton)
        if moved is None:
            break
        step = moved
    return (start + step / scale).clamp(min=0.0)


def _climbed(
    g: Tensor, goal: Tensor, least: Tensor, step: Tensor, newton: Tensor
) -> Tensor | None:
    """The first of ever shorter Newton steps that climbs and keeps draws enough; None if none."""

    def dual(at: Tensor) -> Tensor:
        return at @ goal - torch.logsumexp(g @ at, 0)

    here = dual(step)
    for halvings in range(40):
        candidate = torch.maximum(step + newton / 2**halvings, least)
        enough = effective_sample_size(g @ candidate) >= LEAST_ESS * len(g)
        if enough and dual(candidate) > here:
            return candidate
    return None
