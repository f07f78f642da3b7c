"""A normal distribution in instance space."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.core.prior import StandardNormal

Numbers = float | Sequence[float]
"""One for all coordinates, or one for each."""


class Normal(StandardNormal):
    """x ~ N(mean, Σ): x = mean + L z with z ~ N(0, I) and L Lᵀ = Σ.

    Args:
        latent_dim: D, at least 2.
        mean: one number for all coordinates, or one for each.
        scale: standard deviations, in the same way.
        covariance: Σ, shape (D, D), in place of `scale`.

    Raises:
        SettingError: sizes that do not fit, or a covariance that is not positive definite.

    Examples:
        >>> import torch
        >>> from btgm_cli.domains.densities.normal import Normal
        >>> p = Normal(2, scale=[1.0, 2.0])
        >>> p.log_prob(torch.zeros(1, 2))  # −log(2π) − log 2
        tensor([-2.5310])
    """

    def __init__(
        self,
        latent_dim: int = 2,
        mean: Numbers = 0.0,
        scale: Numbers = 1.0,
        covariance: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__(latent_dim)
        self.mean = _vector("model.mean", mean, latent_dim)
        self.scale = _vector("model.scale", scale, latent_dim)
        if not (self.scale > 0).all():
            raise SettingError("model.scale", scale, "must be positive")
        self.cholesky: Tensor | None = None
        self.log_volume = self.scale.double().log().sum().item()
        if covariance is not None:
            if scale != 1.0:
                expected = "says what model.covariance says too; give one of them"
                raise SettingError("model.scale", scale, expected)
            self.cholesky = _cholesky(covariance, latent_dim)
            self.log_volume = self.cholesky.diagonal().double().log().sum().item()

    def decode(self, z: Tensor) -> Tensor:
        """X = mean + L z, shape (n, D)."""
        if self.cholesky is None:
            return self.mean.to(z) + self.scale.to(z) * z
        return self.mean.to(z) + z @ self.cholesky.to(z).T

    def encode(self, x: Tensor) -> Tensor:
        """z = L⁻¹ (x − mean), shape (n, D)."""
        away: Tensor = x - self.mean.to(x)
        if self.cholesky is None:
            return away / self.scale.to(away)
        white: Tensor = torch.linalg.solve_triangular(self.cholesky.to(x), away.T, upper=False)
        return white.T

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mean, Σ) in nats, shape (n,), for x of shape (n, D)."""
        log_p: Tensor = self.prior_log_prob(self.encode(x)) - self.log_volume
        return log_p


def _vector(setting: str, value: Numbers, dim: int) -> Tensor:
    """One number for each coordinate, shape (D,)."""
    given = [value] * dim if isinstance(value, int | float) else list(value)
    if len(given) != dim or not all(math.isfinite(number) for number in given):
        expected = f"must be a finite number, or one for each of the {dim} coordinates"
        raise SettingError(setting, value, expected)
    return torch.tensor(given, dtype=torch.float)


def _cholesky(covariance: Sequence[Sequence[float]], dim: int) -> Tensor:
    """L with L Lᵀ = Σ, shape (D, D), in double precision."""
    rows = [list(map(float, row)) for row in covariance]
    told = rows if dim <= 4 else f"({len(rows)} rows)"
    if len(rows) != dim or any(len(row) != dim for row in rows):
        raise SettingError("model.covariance", told, f"must have {dim} rows of {dim} numbers")
    sigma = torch.tensor(rows, dtype=torch.double)
    symmetric = torch.allclose(sigma, sigma.T, rtol=1e-6, atol=0.0)
    factor: Tensor
    factor, fault = torch.linalg.cholesky_ex(sigma)
    if not symmetric or fault or not torch.isfinite(factor).all():
        expected = "is not symmetric"
        if symmetric:
            least = torch.linalg.eigvalsh(torch.nan_to_num(sigma))[0].item()
            expected = f"is not positive definite: its smallest eigenvalue is {least:.3g}"
        raise SettingError("model.covariance", told, expected)
    return factor
