"""What `btgm prob` is asked for: thresholds, return periods and levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from btgm_cli.cli.settings import require_least
from btgm_cli.core.errors import SettingError

Grid = float | tuple[float, ...]
"""One threshold or several."""

MOST_POINTS = 1000
"""Of a grid."""

GRIDS = ("above", "below", "levels")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Thresholds and how to tell their probabilities; see `cli.prob.USAGE`.

    Raises:
        SettingError: a value out of range, or settings that contradict each other.
    """

    above: Grid | None = None
    below: Grid | None = None
    levels: Grid | None = None
    per: str | None = None
    rate: float | None = None
    noises: int | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        require_least(self, noises=1)
        if self.above is not None and self.below is not None:
            raise SettingError("below", _told(self.below), "say above= or below=, not both")
        if self.above is None and self.below is None and self.levels is None:
            expected = "must be given: one threshold, or several as above=30,35,40"
            raise SettingError("above", None, f"{expected}; or below=, or levels=")
        for name in GRIDS:
            _check_grid(name, getattr(self, name))
        if (self.per is None) != (self.rate is None):
            name, other = ("per", "rate") if self.rate is None else ("rate", "per")
            expected = f"needs {other}= as well: the draws of p that one {self.per or 'unit'} has"
            if other == "per":
                expected = "needs per= as well: the unit of time that has so many draws of p"
            raise SettingError(name, getattr(self, name), expected)
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise SettingError("rate", self.rate, "must be positive and finite")
        for level in _numbers(self.levels):
            if not level * (self.rate or 1.0) > 1:
                expected = f"must be more draws than one, and {level:g} {self.unit} have "
                expected += f"{level * (self.rate or 1.0):g}"
                raise SettingError("levels", level, expected)

    @property
    def side(self) -> str:
        """`above` or `below`."""
        return "above" if self.below is None else "below"

    @property
    def sign(self) -> float:
        """1, or −1 where low values are asked for: −f is above −t."""
        return 1.0 if self.below is None else -1.0

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """Of ±f, from the least rare to the rarest, each once."""
        given = _numbers(self.above if self.below is None else self.below)
        return tuple(sorted({self.sign * t for t in given}))

    @cached_property
    def rare(self) -> tuple[float, ...]:
        """P(f > level) of each return level asked for, from the least rare to the rarest."""
        return tuple(sorted({1 / (t * (self.rate or 1.0)) for t in _numbers(self.levels)})[::-1])

    def period(self, probability: float) -> float:
        """How many units of time, or draws, it takes on average to have one."""
        return math.inf if probability == 0 else 1 / (probability * (self.rate or 1.0))

    @property
    def unit(self) -> str:
        """Of periods."""
        return self.per or "draws"

    @property
    def name(self) -> str:
        """Of a folder that holds the answer."""
        ends = [f"{self.sign * t:g}" for t in self.thresholds]
        text = "_to_".join(dict.fromkeys([*ends[:1], *ends[-1:]]))
        parts = [f"{self.side}_{text}"] if ends else []
        parts += [f"levels_{max(_numbers(self.levels)):g}_{self.unit}"] if self.rare else []
        return "_".join(parts)


def grids_read(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, with `30,35,40` as the numbers that it lists, as `[30,35,40]` is.

    Raises:
        SettingError: a grid with something in it that is no number.
    """
    read = dict(settings)
    for name in GRIDS:
        if isinstance(text := read.get(name), str):
            try:
                read[name] = [float(part) for part in text.split(",")]
            except ValueError:
                expected = "must be a number, or several as 30,35,40"
                raise SettingError(name, text, expected) from None
    return read


def _check_grid(name: str, grid: Grid | None) -> None:
    numbers = _numbers(grid)
    if grid is not None and not numbers:
        raise SettingError(name, [], "is empty; give one number, or several as 30,35,40")
    if len(numbers) > MOST_POINTS:
        raise SettingError(name, f"{len(numbers)} numbers", f"must be at most {MOST_POINTS}")
    for number in numbers:
        if not math.isfinite(number):
            raise SettingError(name, number, "must be a finite number")


def _numbers(grid: Grid | None) -> tuple[float, ...]:
    if grid is None:
        return ()
    return tuple(grid) if isinstance(grid, tuple) else (grid,)


def _told(grid: Grid) -> object:
    return list(grid) if isinstance(grid, tuple) else grid
