"""Wishes that no tilt grants together, found by linear programming and put to the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from torch import Tensor

from btgm_cli.tuning.feasibility import Bound

Most = Callable[[tuple[float, ...], float], Bound | None]
"""The largest mean of Σ wᵢ fᵢ, given w, where that is less than what is asked of it."""

IDLE = 1e-6
"""A wish with less than this share of a contradiction has no part in it."""

WITHIN = 0.9
"""Share of what can be granted that a remedy asks for."""


@dataclass(frozen=True)
class Contradiction:
    """Why wishes cannot be granted, and what to ask instead."""

    text: str
    remedy: str


@dataclass(frozen=True)
class Conflict:
    """Wishes that contradict each other, and how far they go together.

    Args:
        weights: λ of Farkas' lemma, shape (m,), the first one 1; 0 for a wish that has no part.
        base: the means that a remedy begins with: what p has, or less where less is asked.
        asked: λ·c.
        limit: the largest mean of λ·f.
        share: of the way from p to the wishes that can be gone.
    """

    weights: np.ndarray
    base: np.ndarray
    asked: float
    limit: Bound
    share: float


def find_contradiction(f: Tensor, wishes: Mapping[str, float], most: Most) -> Contradiction | None:
    """Wishes that no distribution grants together, as far as can be told; None where all can be.

    Args:
        f: the terms on draws of p, and of any model on the way, shape (n, m).
        wishes: cᵢ by the terms' names, in order.
        most: what the reference knows of a sum.
    """
    goal = np.array(list(wishes.values()))
    conflict = find_conflict(f, goal, most)
    if conflict is None:
        return None
    weights, base = conflict.weights, conflict.base
    less = np.where(weights > 0, base + WITHIN * conflict.share * (goal - base), goal)
    listed = ",".join(f"{name}:{value:.4g}" for name, value in zip(wishes, less, strict=True))
    both = zip(wishes.items(), weights, strict=True)
    named = {name: (c, weight) for (name, c), weight in both if weight}
    text = _text(named, conflict.asked, conflict.limit)
    return Contradiction(text, f"target.at_least={{{listed}}}")


def find_conflict(f: Tensor, goal: np.ndarray, most: Most) -> Conflict | None:
    """Means that no distribution has together, as far as can be told; None where all can be.

    Where no mixture of the draws has all means, Farkas' lemma gives weights λ ≥ 0 whose sum
    λ·f is at most M on every draw, although the wishes ask for a mean λ·c > M. Draws can have
    missed where λ·f is larger: the reference's climb along λ·f has the last word.

    Args:
        f: the terms on draws of p, and of any model on the way, shape (n, m).
        goal: c, the means that there should be at least, shape (m,).
        most: what the reference knows of a sum.
    """
    values = f.double().numpy()
    base = np.minimum(goal, values.mean(0))  # what p grants already
    reached, multipliers = _furthest(values, base, goal - base)
    if multipliers is None:
        return None
    part = multipliers * values.std(0)
    involved = part > IDLE * part.max()
    weights = np.where(involved, multipliers, 0.0) / multipliers[involved][0]
    asked = float(weights @ goal)
    limit = most(tuple(weights.tolist()), asked)
    if limit is None:
        return None
    start = float(weights @ base)
    share = min(reached, (limit.value - start) / (asked - start))
    return Conflict(weights, base, asked, limit, share)


def _text(named: Mapping[str, tuple[float, float]], asked: float, limit: Bound) -> str:
    """What contradicts what, by the wishes' cᵢ and their weights."""
    wishes = " and ".join(f"E {name} of at least {c:.4g}" for name, (c, _) in named.items())
    largest = f"the largest reached is {limit.value:.4g} at β = {limit.beta:.3g}"
    if len(named) == 1:
        return f"{wishes} cannot be met: {largest}"
    total = " + ".join(f"{weight:.3g} {name}" for name, (_, weight) in named.items())
    return f"{wishes} cannot be met together: {total} would have a mean of {asked:.4g}, {largest}"


def _furthest(
    f: np.ndarray, base: np.ndarray, distance: np.ndarray
) -> tuple[float, np.ndarray | None]:
    """How far s from `base` towards the wishes some mixture of draws gets, and what stops it.

    Maximizes s ≤ 1 over mixtures v of the draws with Σ v f ≥ base + s distance; the constraints'
    multipliers at the optimum are None where s = 1 is reached.
    """
    scale = np.maximum(f.std(0), 1e-300)
    n = len(f)
    program = linprog(
        c=np.append(np.zeros(n), -1.0),
        A_ub=np.column_stack([-(f / scale).T, distance / scale]),
        b_ub=-base / scale,
        A_eq=np.append(np.ones(n), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * n + [(0, 1)],
        method="highs",
    )
    reached = float(program.x[-1])
    if reached >= 1 - IDLE:
        return 1.0, None
    return reached, np.maximum(-program.ineqlin.marginals, 0.0) / scale
