"""Tilts along one direction of a Gaussian, exact by quadrature, and draws that are faulty by plan.

The size of a fault is the total variation between its draws and the tilt, by the same quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import chdtr, log_ndtr
from torch import Tensor

from btgm_cli.core.contracts import Criterion
from btgm_cli.core.errors import BtgmError
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.tilt.bisection import bisect, half

Array = NDArray[np.float64]
Profile = Callable[[Tensor], Tensor]

T = np.linspace(-40.0, 40.0, 80_001)
"""The coordinate along the direction, as far as the widest tilt reaches."""

STEP = float(T[1] - T[0])
LOG_P: Array = -0.5 * T**2 - 0.5 * math.log(2 * math.pi)


def linear(t: Tensor) -> Tensor:
    """A shift."""
    return t


def quadratic(t: Tensor) -> Tensor:
    """A narrowing."""
    return -0.5 * t.square()


def plateau(t: Tensor) -> Tensor:
    """Flat nearly everywhere, steep between, as the probability of a class is."""
    return torch.sigmoid(8 * (t - 0.7))


def rare(t: Tensor) -> Tensor:
    """As the log probability of a class is: flat only where it holds."""
    return torch.nn.functional.logsigmoid(4 * (t - 1.5))


def skewed(t: Tensor) -> Tensor:
    """Convex, with the tilt's longer tail above."""
    return torch.nn.functional.softplus(2 * t)


def two_modes(share: float) -> Profile:
    """At β = 1 the tilt has modes at ±2, the lower one with this share."""

    def f(t: Tensor) -> Tensor:
        each = [_log_normal(t, place, 0.5) for place in (-2.0, 2.0)]
        both = torch.logaddexp(each[0] + math.log(share), each[1] + math.log1p(-share))
        return both - _log_normal(t, 0.0, 1.0)

    return f


@dataclass(frozen=True)
class Along:
    """f(x) = profile(a·x): a criterion that knows nothing of its tilts."""

    direction: Tensor
    profile: Profile

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for x of shape (n, D)."""
        f: Tensor = self.profile(x @ self.direction.to(x))
        return f


@dataclass(frozen=True)
class Line:
    """The tilts by a profile, along their direction a.

    Args:
        profile: f as a function of a·x.
        dim: D.
        seed: of the direction.
    """

    profile: Profile
    dim: int
    seed: int

    @property
    def direction(self) -> Tensor:
        """A unit vector a, shape (D,)."""
        a = torch.randn(self.dim, generator=torch.Generator().manual_seed(self.seed))
        unit: Tensor = a / a.norm()
        return unit

    @property
    def criterion(self) -> Criterion:
        """F: the package's own where it has it, with its closed form."""
        if self.profile is linear:
            return Linear(self.direction.tolist())
        return Along(self.direction, self.profile)

    @property
    def f(self) -> Array:
        """F on the grid."""
        values: Array = self.profile(torch.from_numpy(T)).numpy()
        return values

    def tilt(self, beta: float) -> Array:
        """Density of the tilt on the grid."""
        return normalized(LOG_P + beta * self.f)

    def mean(self, density: Array) -> float:
        """E f."""
        return float((density * self.f).sum() * STEP)

    def place(self, t: Tensor, scale: float, generator: torch.Generator) -> Tensor:
        """Draws x (n, D) with these coordinates t (n,) along a and N(0, scale²) across."""
        noise = scale * torch.randn(len(t), self.dim, generator=generator)
        a = self.direction
        return noise + (t.float() - noise @ a)[:, None] * a

    def log_density(self, x: Tensor, beta: float) -> Tensor:
        """Log density of the tilt at draws x (n, D), exact, shape (n,)."""
        log_p = -0.5 * (x.double().square().sum(-1) + self.dim * math.log(2 * math.pi))
        log_z = math.log(float(np.exp(LOG_P + beta * self.f).sum() * STEP))
        return log_p + beta * self.profile((x @ self.direction).double()) - log_z


def normalized(log_density: Array) -> Array:
    """A density on the grid."""
    density: Array = np.exp(log_density - log_density.max())
    density /= density.sum() * STEP
    return density


def total_variation(p: Array, q: Array) -> float:
    """Between two densities on the grid."""
    return float(0.5 * np.abs(p - q).sum() * STEP)


def drawn(density: Array, n: int, generator: torch.Generator) -> Tensor:
    """n draws, shape (n,), by the inverse of the distribution function."""
    edges = np.cumsum(density)
    uniform = torch.rand(n, generator=generator, dtype=torch.double).numpy()
    return torch.from_numpy(np.interp(uniform, edges / edges[-1], T + STEP / 2))


def without(density: Array, share: float) -> Array:
    """The density with its lowest share cut off: of two modes the lower one, if it is as large."""
    below = np.cumsum(density) * STEP
    return normalized(np.log(np.where(below >= share, density, 0.0) + 1e-300))


def best_of(n: int) -> Array:
    """The density of the best of n draws of p, of a rising profile."""
    return normalized(LOG_P + (n - 1) * log_ndtr(T))


def beta_at(line: Line, mean: float) -> float:
    """The β whose tilt has this E f."""
    return half(*bisect(lambda beta: line.mean(line.tilt(beta)) < mean, 0.0, 50.0, 60))


def wrong_beta(line: Line, beta: float, size: float, up: bool) -> Array:
    """A tilt of another β, so far from that at β.

    Raises:
        BtgmError: none is so far.
    """
    right = line.tilt(beta)

    def closer(step: float) -> bool:
        return total_variation(line.tilt(beta + step if up else beta - step), right) < size

    most = 20 * beta if up else beta
    if closer(most):
        raise BtgmError(f"no tilt is {size} from that at {beta}")
    return line.tilt(beta + half(*bisect(closer, 0.0, most, 50)) * (1 if up else -1))


def wrong_scale(dim: int, size: float, up: bool) -> float:
    """The scale of D dimensions that is so far from 1."""
    sign = 1 if up else -1

    def closer(log_scale: float) -> bool:
        s = math.exp(sign * log_scale)
        # Where the densities N(0, I) and N(0, s²I) cross, in |x|².
        crossing = 2 * dim * math.log(s) / (1 - s**-2)
        inside = [float(chdtr(dim, crossing / v)) for v in (1.0, s**2)]
        return abs(inside[0] - inside[1]) < size

    return math.exp(sign * half(*bisect(closer, 1e-6, 5.0, 50)))


def _log_normal(t: Tensor, mean: float, std: float) -> Tensor:
    return -0.5 * ((t - mean) / std).square() - math.log(std * math.sqrt(2 * math.pi))
