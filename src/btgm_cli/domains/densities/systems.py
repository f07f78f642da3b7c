"""Energies u(x) in kT, each a function of x (n, D) to (n,): what `system=NAME` names.

One of a user's own is such a function too, best differentiable; see `experiments/own_energy`.
Coordinates are dimensionless wherever their sources leave them so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.core.prior import standard_normal_log_prob
from btgm_cli.domains.densities.means import MEANS

MUELLER_BROWN = (
    # A, a, b, c, X, Y
    (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
    (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
    (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
    (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
)
"""The four terms of Müller & Brown (Theor. Chim. Acta 53, 1979), A in their unit of energy."""


def double_well(
    x: Tensor, quartic: float = 1.0, quadratic: float = -6.0, linear: float = 1.0
) -> Tensor:
    """A double well along x₁ beside a harmonic x₂: u = a x₁⁴ + b x₁² + c x₁ + x₂²/2, in kT.

    The defaults are those of the code of *Boltzmann Generators* (`deep_boltzmann`, `DoubleWell`:
    x₁⁴ − 6 x₁² + x₁ + x₂²/2): the left well is 3.38 kT the lower and the barrier from it 10.8 kT.
    By quadrature log Z = 11.020467.

    bgflow's own is `double_well_bgflow`, a = 1, b = −4, c = 0, as its notebooks set it; the
    defaults of its class `DoubleWellEnergy` are other ones, a = 1/2 and b = −2.

    Args:
        x: shape (n, 2).
        quartic: a.
        quadratic: b.
        linear: c.
    """
    first, second = _plane("double_well", x)
    return (
        quartic * first.pow(4) + quadratic * first.square() + linear * first + second.square() / 2
    )


def muller_brown(x: Tensor, scale: float = 0.1) -> Tensor:
    """Three basins in the plane: u = scale · Σ A exp(a(x−X)² + b(x−X)(y−Y) + c(y−Y)²), in kT.

    Müller and Brown give A in a unit of their own; the tenth of it taken for kT is that of
    *Boltzmann Generators*. By quadrature log Z = 11.729591 at scale 0.1.

    Args:
        x: shape (n, 2): their x and y.
        scale: kT to their unit of energy.
    """
    first, second = _plane("muller_brown", x)
    total = torch.zeros_like(first)
    for height, a, b, c, at_x, at_y in MUELLER_BROWN:
        dx, dy = first - at_x, second - at_y
        total = total + height * torch.exp(a * dx.square() + b * dx * dy + c * dy.square())
    return scale * total


def many_well(x: Tensor) -> Tensor:
    """Double wells side by side, one for two coordinates (Midgley et al. 2023), 2^(D/2) modes.

    u = Σ (x_{2i}⁴ − 6 x_{2i}² − x_{2i}/2 + x_{2i+1}²/2) in kT; in 32 dimensions log Z is 164.69
    (`many_well_log_z`).

    Args:
        x: shape (n, D), D even.
    """
    if x.shape[-1] % 2:
        raise _misfit("many_well", "an even number of dimensions", x)
    wells = -well_log_density(x[:, 0::2])
    return wells.sum(-1) + 0.5 * x[:, 1::2].square().sum(-1)


def well_log_density(x: Tensor) -> Tensor:
    """One well of `many_well` without its constant: −x⁴ + 6x² + x/2, of any shape."""
    return -x.pow(4) + 6 * x.square() + 0.5 * x


def many_well_log_z(dim: int) -> float:
    """log Z of `many_well` in D dimensions, nats.

    A well is smooth and below e⁻³⁰⁰ at the ends, where the trapezoidal rule is exact to
    rounding.
    """
    grid = torch.linspace(-5.0, 5.0, 10_001, dtype=torch.double)
    well = torch.trapezoid(well_log_density(grid).exp(), grid).log().item()
    return dim // 2 * (well + 0.5 * math.log(2 * math.pi))


def gaussian_mixture(
    x: Tensor, means: Sequence[Sequence[float]] | None = None, std: float = 1.0
) -> Tensor:
    """Gaussians of equal weight: u = −log density, in kT, so that log Z = 0 at T = 1.

    Args:
        x: shape (n, D).
        means: shape (K, D); null takes the 40 of fab-jax's `gmm_v0`, strewn over [−40, 40]².
        std: of each.
    """
    places = torch.tensor(MEANS if means is None else [list(row) for row in means]).to(x)
    if places.dim() != 2 or x.shape[-1] != places.shape[-1]:
        raise _misfit("gaussian_mixture", f"{places.shape[-1]} dimensions", x)
    white = (x[:, None, :] - places) / std
    each = standard_normal_log_prob(white) - x.shape[-1] * math.log(std)
    return math.log(len(places)) - torch.logsumexp(each, -1)


def funnel(x: Tensor) -> Tensor:
    """Neal's funnel: v ~ N(0, 9), the rest N(0, eᵛ); u = −log density, in kT, so that log Z = 0.

    Args:
        x: shape (n, D), v first.
    """
    v, rest = x[:, :1], x[:, 1:]
    log_scale = 0.5 * rest.shape[-1] * v.squeeze(-1)
    narrow = standard_normal_log_prob(rest * torch.exp(-0.5 * v)) - log_scale
    return math.log(3) - standard_normal_log_prob(v / 3) - narrow


def _plane(name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """The two coordinates of x (n, 2)."""
    if x.shape[-1] != 2:
        raise _misfit(name, "2 dimensions", x)
    return x[:, 0], x[:, 1]


def _misfit(name: str, wanted: str, x: Tensor) -> SettingError:
    expected = f"is defined in {wanted}, and this model has x of shape {tuple(x.shape[1:])}"
    return SettingError("criterion.system", name, expected)
