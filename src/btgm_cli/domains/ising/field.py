"""The Ising model's continuous field: a Gaussian whose tilt at β = 1 is the Ising model.

By Hubbard and Stratonovich, for spins s on a torus with adjacency A and M = K A + c I,

    Σ_s exp(½ sᵀ K A s + h Σᵢ sᵢ) = e^{−cn/2} E_{φ ~ N(0, M)} Πᵢ 2 cosh(φᵢ + h)

so that f(x) = Σᵢ log 2 cosh xᵢ of x = φ + h is the criterion, log Z_Ising = log Z(1) − cn/2, and
the spins given x are independent: sᵢ = 1 with probability 1 / (1 + e^{−2xᵢ}).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.core.memory import require_memory
from btgm_cli.core.prior import StandardNormal


class IsingField(StandardNormal):
    """z ~ N(0, I), x = h + φ of n = L² sites, φ ~ N(0, K A + c I), row by row of the torus.

    z are the amplitudes of the torus's waves, the strongest first: z₁ is that of the
    magnetization, the one direction in which the tilt has two modes below the critical
    temperature. c is the least that makes the covariance one: so the tilt lies nearest to p.

    Args:
        size: L, 2 or more. On a torus of size 2 each neighbour is there twice.
        coupling: K = J / kT, positive; the critical point is `CRITICAL`.
        field: h, the outer field over kT.

    Raises:
        SettingError: a value out of range.
    """

    def __init__(self, size: int = 4, coupling: float = 0.44, field: float = 0.0) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 2:
            raise SettingError("model.size", size, "must be a whole number, 2 or more")
        if not 0 < coupling < math.inf:
            raise SettingError("model.coupling", coupling, "must be positive and finite")
        if not math.isfinite(field):
            raise SettingError("model.field", field, "must be finite")
        require_memory("model.size", size, 4.0 * size**4)
        super().__init__(size**2)
        self.size, self.coupling, self.field = size, float(coupling), float(field)
        strengths, waves = _waves(size)
        # Of K A + c I, largest first; the least is 0, and rounding must not take it below.
        self.diagonal = -self.coupling * strengths.min().item()
        variances = (self.coupling * strengths + self.diagonal).clamp(min=0)
        self._root = waves * variances.sqrt()

    def decode(self, z: Tensor) -> Tensor:
        """X = h + φ, shape (n, L²), for z of shape (n, L²)."""
        field: Tensor = z @ self._root.to(z).T + self.field
        return field

    @property
    def log_z_offset(self) -> float:
        """cn/2, nats: what log Z(1) has more than log Z of the Ising model."""
        return self.diagonal * self.latent_dim / 2


def _waves(size: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues of A, shape (n,), falling, and its eigenvectors as columns (n, n), float64.

    Written down rather than computed: they come in fours, and no solver picks the same ones twice.
    """
    at = torch.arange(size, dtype=torch.double)
    numbers = (at + 1).div(2, rounding_mode="floor")  # 0, 1, 1, 2, 2, …
    angles = 2 * math.pi * at[:, None] * numbers / size
    line = torch.where(at % 2 == 1, torch.cos(angles), torch.sin(angles))
    line[:, 0] = 1.0
    line = line / line.norm(dim=0)
    along = 2 * torch.cos(2 * math.pi * numbers / size)
    strengths = (along[:, None] + along).flatten()
    order = torch.argsort(strengths, descending=True, stable=True)
    return strengths[order], torch.kron(line, line)[:, order].contiguous()
