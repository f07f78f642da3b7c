"""What the exact tilt is: in closed form where that is known, else from draws of p."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from btgm_cli.core import Criterion, GenerativeModel, Reference
from btgm_cli.criteria import Linear, Quadratic
from btgm_cli.models.gaussian import Gaussian
from btgm_cli.tilt import importance_reference

CHUNK = 1000
"""Draws decoded at once outside training; bounds memory."""


class ReferenceSource(Protocol):
    """The exact tilt as a function of β."""

    @property
    def f_evals(self) -> int:
        """Criterion evaluations spent."""
        ...

    def at(self, beta: float) -> Reference:
        """The tilt at one β."""
        ...


@dataclass(frozen=True)
class ClosedForm:
    """A Gaussian tilted by a criterion whose tilts are known."""

    criterion: Linear | Quadratic
    latent_dim: int
    f_evals: int = 0

    def at(self, beta: float) -> Reference:
        """The exact tilt at β."""
        return self.criterion.gaussian_tilt(beta, self.latent_dim)


@dataclass(frozen=True)
class PriorDraws:
    """Self-normalized importance sampling from draws of p: the paper's theory curve.

    Args:
        f: criterion on draws of p, shape (n,).
    """

    f: Tensor

    @property
    def f_evals(self) -> int:
        """Criterion evaluations spent."""
        return self.f.numel()

    def at(self, beta: float) -> Reference:
        """The estimate at β (Eqs. 29–31), with its error and whether to believe it."""
        return importance_reference(beta, self.f)


def evaluate(model: GenerativeModel, criterion: Criterion, z: Tensor) -> Tensor:
    """f̂(z) = f(decode(z)) without gradient, shape (n,), in bounded memory."""
    with torch.no_grad():
        return torch.cat([criterion(model.decode(part)) for part in z.split(CHUNK)])


def reference_for(
    model: GenerativeModel, criterion: Criterion, n: int, generator: torch.Generator
) -> ReferenceSource:
    """The best reference for this pair: closed form if known, else from n draws of p."""
    if isinstance(model, Gaussian) and isinstance(criterion, Linear | Quadratic):
        return ClosedForm(criterion, model.latent_dim)
    return PriorDraws(evaluate(model, criterion, model.sample_prior(n, generator)))
