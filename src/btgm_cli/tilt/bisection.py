"""Bisection: where a monotone answer turns from yes to no."""

from __future__ import annotations

from collections.abc import Callable


def half(low: float, high: float) -> float:
    """The arithmetic mean."""
    return 0.5 * (low + high)


def bisect(
    below: Callable[[float], bool],
    low: float,
    high: float,
    steps: int,
    middle: Callable[[float, float], float] = half,
) -> tuple[float, float]:
    """The bracket of the turn, halved `steps` times: `below` holds at its low end.

    Args:
        below: is a point below the turn? Not asked at `low`, where it holds, nor at `high`.
        low: lower end of the first bracket.
        high: upper end.
        steps: halvings.
        middle: what splits a bracket.
    """
    for _ in range(steps):
        at = middle(low, high)
        low, high = (at, high) if below(at) else (low, at)
    return low, high
