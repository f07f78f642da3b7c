"""What is handed out, as it is handed out: how often each draw came, and the mean of f.

A draw that came c times counts once, with weight c: its copies tell nothing new. Memory is that
of one block, since a draw that a block has no more does not come again.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Tally:
    """Of equally weighted draws, in blocks."""

    def __init__(self) -> None:
        self.n = 0
        self._most = 0
        self._center = 0.0
        self._sum = 0.0
        self._squares: Array = np.zeros(3)  # Σ c² gᵏ for k = 0, 1, 2, with g = f − center
        self._last: dict[bytes, tuple[float, int]] = {}

    def add(self, z: Array, f: Array) -> None:
        """Take in the next block: draws z (n, D) with their f (n,)."""
        f = f.astype(np.float64)
        if not len(f):
            return
        if not self.n:
            self._center = f.mean()
        self.n += len(f)
        self._sum += (f - self._center).sum()
        z = np.ascontiguousarray(z)
        keys = z.view(np.dtype((np.void, z.itemsize * z.shape[1])))[:, 0]
        keys, first, counts = np.unique(keys, return_index=True, return_counts=True)
        now: dict[bytes, tuple[float, int]] = {}
        for key, value, count in zip(keys, f[first], counts, strict=True):
            _, before = self._last.pop(bytes(key), (value, 0))  # a chain that has not moved
            now[bytes(key)] = value, before + int(count)
            self._most = max(self._most, before + int(count))
        self._squares += _squares(self._last, self._center)
        self._last = now

    @property
    def mean(self) -> float:
        """The mean of f."""
        return self._center + self._sum / self.n

    @property
    def mean_se(self) -> float:
        """Its standard error, as far as the draws know: √Σ c² (f − mean)² / n."""
        zeroth, first, second = self._all_squares
        off = self.mean - self._center
        return math.sqrt(max(second - 2 * off * first + off**2 * zeroth, 0.0)) / self.n

    @property
    def effective(self) -> float:
        """n² / Σ c²: so many draws that differ are worth as much."""
        return float(self.n**2 / self._all_squares[0])

    @property
    def most(self) -> int:
        """How often the most frequent draw came."""
        return self._most

    @property
    def largest_share(self) -> float:
        """Its part of all draws."""
        return self._most / self.n

    @property
    def _all_squares(self) -> Array:
        total: Array = self._squares + _squares(self._last, self._center)
        return total


def _squares(counted: dict[bytes, tuple[float, int]], center: float) -> Array:
    """Σ c² gᵏ over these draws, for k = 0, 1, 2."""
    if not counted:
        return np.zeros(3)
    f, c = np.array(list(counted.values())).T
    return np.array([(c**2 * (f - center) ** k).sum() for k in range(3)])
