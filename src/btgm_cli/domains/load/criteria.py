"""Criteria of weekly load curves x, kW: shape (n, points), Monday 00:00 first (§4.3, Appendix E).

A point is half an hour where a week has 336 of them.
"""

from __future__ import annotations

from torch import Tensor

from btgm_cli.core.errors import SettingError

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def peak(x: Tensor) -> Tensor:
    """f₁(x) = maxₜ xₜ, kW: the largest power of the week. Shape (n,) for x (n, points)."""
    return x.amax(-1)


class DayMean:
    """f(x) = mean of xₜ over one day, kW.

    Args:
        day: `monday` to `sunday`.
    """

    def __init__(self, day: str = "wednesday") -> None:
        if day not in DAYS:
            raise SettingError("criterion.day", day, f"choose one of {', '.join(DAYS)}")
        self.day = DAYS.index(day)

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for x of shape (n, points), kW."""
        days: Tensor = x.unflatten(-1, (len(DAYS), -1)).mean(-1)
        return days[:, self.day]


class DayExcess(DayMean):
    """f₂(x) = mean of xₜ over one day − mean of xₜ over the week, kW."""

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for x of shape (n, points), kW."""
        return super().__call__(x) - x.mean(-1)


def unevenness(x: Tensor) -> Tensor:
    """f(x) = meanₜ |xₜ − x̄|, kW: the distance to the flat curve of equal energy.

    The paper's "MAE" (Appendix E). Times the hours of a week, and halved, it is the energy that
    would have to be moved in time to make the week flat. Shape (n,) for x (n, points).
    """
    return (x - x.mean(-1, keepdim=True)).abs().mean(-1)


def evenness(x: Tensor) -> Tensor:
    """f(x) = −meanₜ |xₜ − x̄|, kW. Shape (n,) for x (n, points)."""
    return -unevenness(x)


def ramp(x: Tensor) -> Tensor:
    """f(x) = maxₜ (xₜ₊₁ − xₜ), kW: the largest rise in one step. Shape (n,) for x (n, points)."""
    return x.diff(dim=-1).amax(-1)
