"""Gaussian kernels along a coordinate, as wishes: a model that visits all of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.contracts import Criterion
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.combined.criteria import WeightedSum

Coordinate = Callable[[Tensor], Tensor]
"""x of shape (n, *X) to numbers of shape (n,)."""


def along(x: Tensor, direction: Sequence[float], offset: float = 0.0) -> Tensor:
    """A linear coordinate a·x + b, shape (n,), of x (n, D).

    Raises:
        SettingError: a direction of another dimension than x has.
    """
    if x.shape[1:] != (len(direction),):
        expected = f"must have a number for each coordinate of x, {tuple(x.shape[1:])}"
        raise SettingError("criterion.coordinate.direction", list(direction), expected)
    found: Tensor = x @ torch.tensor(direction).to(x) + offset
    return found


@dataclass(frozen=True)
class Kernel:
    """h(x) = exp(−(R(x) − centre)² / 2 width²), a criterion.

    Args:
        coordinate: R.
        centre: in R's unit.
        width: its standard deviation.
    """

    coordinate: Coordinate
    centre: float
    width: float

    def __call__(self, x: Tensor) -> Tensor:
        """h of shape (n,), in 0 … 1, for x of shape (n, *X)."""
        return torch.exp(-0.5 * ((self.coordinate(x) - self.centre) / self.width).square())


class Kernels(WeightedSum):
    """A criterion and the kernels k0, k1, … of a coordinate R, as the terms of a sum.

    J_RC of *Boltzmann Generators* (Noé et al. 2019) is −Σ log E hₖ over eleven kernels, evenly
    from end to end and an eleventh of the way wide, beside J_KL. Here `target.at_least` has a wish
    E hₖ ≥ cₖ for each, and one for the criterion f: the tilt is p exp(λ f + Σ λₖ hₖ(R)), the
    model closest to p that visits all of R so often where f is so high. With an energy as f it is
    a Boltzmann distribution with a bias along R that is known. R spread evenly from end to end has
    E hₖ = 0.23, and half of that at the ends.

    Args:
        of: f.
        coordinate: R, of x (n, *X) to (n,).
        low: where its first kernel is.
        high: where its last one is.
        count: of kernels, 2 or more.

    Raises:
        SettingError: ends or a count that make none.
    """

    def __init__(
        self, of: Criterion, coordinate: Coordinate, low: float, high: float, count: int = 11
    ) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 2:
            raise SettingError("criterion.count", count, "must be a whole number, 2 or more")
        if not low < high:
            raise SettingError("criterion.high", high, f"must be above criterion.low, {low:g}")
        width = (high - low) / count
        centres = torch.linspace(low, high, count, dtype=torch.double).tolist()
        kernels = {f"k{i}": Kernel(coordinate, at, width) for i, at in enumerate(centres)}
        super().__init__({"of": of, **kernels}, {"of": 1.0, **dict.fromkeys(kernels, 0.0)})
