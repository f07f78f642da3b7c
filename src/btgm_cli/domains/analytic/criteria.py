"""Criteria whose tilts of a standard Gaussian are known in closed form: the tests' oracle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import Particles, Reference
from btgm_cli.domains.analytic.gaussian import Gaussian


def exact(
    beta: float, *, mean: float, var: float, m3: float, kl: float, log_z: float
) -> Reference:
    """A `Reference` without error, in nats."""
    return Reference(
        beta=beta,
        mean=mean,
        mean_se=0.0,
        var=var,
        m3=m3,
        kl=kl,
        kl_se=0.0,
        log_z=log_z,
        log_z_se=0.0,
        method="closed_form",
        ess=math.inf,
        pareto_k=-math.inf,
        reliable=True,
    )


class Linear:
    """f(x) = a·x with |a| = 1; by default a points along (1, …, 1).

    Args:
        direction: a, normalized here to length 1.
    """

    def __init__(self, direction: Sequence[float] | None = None) -> None:
        self.direction = None if direction is None else torch.tensor(list(direction)).float()
        if self.direction is not None and not 0 < self.direction.norm() < math.inf:
            raise SettingError("criterion.direction", direction, "must be finite and not zero")

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for x of shape (n, D)."""
        f: Tensor = x @ self._along(x)
        return f

    def closed_form(self, model: GenerativeModel) -> ClosedForm | None:
        """The tilts of the standard Gaussian."""
        return ClosedForm(model, self) if _both_exactly(model, self, Linear) else None

    def gaussian_tilt(self, beta: float, dim: int) -> Reference:
        """The tilt of N(0, I): N(βa, I), so E f = β, KL = log Z = β²/2."""
        del dim
        return exact(beta, mean=beta, var=1.0, m3=0.0, kl=beta**2 / 2, log_z=beta**2 / 2)

    def tilted(self, beta: float, z: Tensor) -> Tensor:
        """Draws of the tilt from draws z (n, D) of N(0, I)."""
        moved: Tensor = z + beta * self._along(z)
        return moved

    def _along(self, x: Tensor) -> Tensor:
        """a, shape (D,)."""
        a = torch.ones(x.shape[-1]) if self.direction is None else self.direction
        if a.numel() != x.shape[-1]:
            expected = f"must have as many entries as x has dimensions ({x.shape[-1]})"
            raise SettingError("criterion.direction", a.tolist(), expected)
        unit: Tensor = (a / a.norm()).to(x)
        return unit


class Quadratic:
    """f(x) = −k|x|²/2.

    Args:
        k: curvature, positive.
    """

    def __init__(self, k: float = 1.0) -> None:
        if not 0 < k < math.inf:
            raise SettingError("criterion.k", k, "must be positive and finite")
        self.k = float(k)

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for x of shape (n, D)."""
        return -0.5 * self.k * x.square().sum(-1)

    def closed_form(self, model: GenerativeModel) -> ClosedForm | None:
        """The tilts of the standard Gaussian."""
        return ClosedForm(model, self) if _both_exactly(model, self, Quadratic) else None

    def gaussian_tilt(self, beta: float, dim: int) -> Reference:
        """The tilt of N(0, I): N(0, s I) with s = 1/(1 + βk)."""
        s = 1.0 / (1.0 + beta * self.k)
        ks = self.k * s
        return exact(
            beta,
            mean=-dim * ks / 2,
            var=dim * ks**2 / 2,
            m3=-dim * ks**3,
            kl=dim / 2 * (s - 1.0 - math.log(s)),
            log_z=dim / 2 * math.log(s),
        )

    def tilted(self, beta: float, z: Tensor) -> Tensor:
        """Draws of the tilt from draws z (n, D) of N(0, I)."""
        return z / math.sqrt(1.0 + beta * self.k)


@dataclass(frozen=True)
class ClosedForm:
    """The standard Gaussian tilted by a criterion whose tilts are known: a `ReferenceSource`."""

    model: GenerativeModel
    criterion: Linear | Quadratic
    f_evals: int = 0

    def at(self, beta: float) -> Reference:
        """The exact tilt at β."""
        return self.criterion.gaussian_tilt(beta, self.model.latent_dim)

    def particles(self, beta: float, n: int, generator: torch.Generator) -> Particles:
        """Independent draws from the exact tilt."""
        z = self.criterion.tilted(beta, self.model.sample_prior(n, generator))
        return Particles(z, self.criterion(z).double())


def _both_exactly(model: GenerativeModel, criterion: object, kind: type) -> bool:
    """Is it x = z under this very criterion? A subclass may decode or value differently."""
    return type(model) is Gaussian and type(criterion) is kind
