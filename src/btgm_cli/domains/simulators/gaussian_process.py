"""Gaussian-process regression of several outputs at once, with errors that are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STEPS = 40
"""Of L-BFGS on the marginal likelihood."""

SLOPES = 10.0
"""Standard deviation of the straight lines that a curve may lie about; outputs have scale one."""

LENGTH = math.log(4.0)
"""log ℓ that is held to be likely: an input of order one is not crossed by many waves."""

JITTER = 1e-9


@dataclass(frozen=True)
class Processes:
    """Curves over the same places, fitted: K kernels with R outputs each, S = K R in all.

    A kernel is a² exp(−½ Σ ((u − u')/ℓ)²) about a straight line, the outputs on scale one; its
    predictions have a variance, which is large where no place is near.

    Args:
        places: u, shape (m, P).
        offset: of each output, shape (S,).
        scale: of each output, shape (S,).
        log_a: shape (K,).
        log_length: log ℓ, shape (K, P).
        whitening: inverse Cholesky factors of the covariances at the places, shape (K, m, m).
        weights: inverse covariances on the outputs, shape (K, m, R).
    """

    places: Tensor
    offset: Tensor
    scale: Tensor
    log_a: Tensor
    log_length: Tensor
    whitening: Tensor
    weights: Tensor

    @classmethod
    def of(cls, found: Mapping[str, Tensor], name: str) -> Processes:
        """Those that `arrays` has given this name."""
        return cls(**{key: found[f"{name}.{key}"] for key in cls.__annotations__})

    def arrays(self, name: str) -> dict[str, NDArray[np.float64]]:
        """All of it, for a file that has others beside it."""
        return {f"{name}.{key}": value.numpy() for key, value in vars(self).items()}

    def inside(self, u: Tensor) -> Tensor:
        """u (n, P), or its nearest point in the box of all places: beyond, nothing is known."""
        return torch.maximum(torch.minimum(u, self.places.amax(0)), self.places.amin(0))

    def mean(self, u: Tensor) -> Tensor:
        """Expected outputs (n, S) at u (n, P)."""
        return self._mean(_kernel(self.log_a, self.log_length, u, self.places))

    def mean_and_var(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Expected outputs at u (n, P) and the variances of their errors, (n, S) each."""
        k = _kernel(self.log_a, self.log_length, u, self.places)
        solved = self.whitening @ k.mT
        own = torch.exp(2 * self.log_a)[:, None] + SLOPES**2 * (1 + u.square().sum(1))
        var = (own - solved.square().sum(1)).clamp(min=0.0).T
        each = var.repeat_interleave(self.weights.shape[2], 1)
        return self._mean(k), self.scale.square() * each

    def _mean(self, k: Tensor) -> Tensor:
        together = (k @ self.weights).permute(1, 0, 2).flatten(1)
        return self.offset + self.scale * together


def fitted(places: Tensor, outputs: Tensor, errors: Tensor) -> Processes:
    """Processes whose constants are the likeliest, those of each output for itself.

    Args:
        places: u, shape (m, P).
        outputs: shape (m, S).
        errors: variances of the outputs' errors, shape (m, S).
    """
    offset, scale = outputs.mean(0), outputs.std(0).clamp(min=1e-12)
    y = ((outputs - offset) / scale).T[..., None]
    return _fitted(places, y, (errors / scale.square()).T, offset, scale, known=True)


def fitted_alike(places: Tensor, outputs: Tensor, errors: Tensor) -> Processes:
    """Processes that share the likeliest constants, for outputs of the same kind.

    Args:
        places: u, shape (m, P).
        outputs: of order one, shape (m, S).
        errors: variances of any output's errors, shape (m,), up to a factor.
    """
    offset, scale = outputs.mean(0), torch.ones(outputs.shape[1]).to(outputs)
    return _fitted(places, (outputs - offset)[None], errors[None], offset, scale, known=False)


def _fitted(
    places: Tensor, y: Tensor, errors: Tensor, offset: Tensor, scale: Tensor, *, known: bool
) -> Processes:
    """Processes of outputs y (K, m, R) with errors (K, m), known or up to a factor."""
    log_a = torch.zeros(len(y), dtype=torch.double, requires_grad=True)
    shape = len(y), places.shape[1]
    log_length = torch.full(shape, LENGTH, dtype=torch.double, requires_grad=True)
    log_factor = torch.zeros(len(y), 1, dtype=torch.double, requires_grad=not known)
    constants = [log_a, log_length, *([] if known else [log_factor])]
    optimizer = torch.optim.LBFGS(constants, max_iter=STEPS, line_search_fn="strong_wolfe")

    def covariance() -> Tensor:
        noise = torch.diag_embed(log_factor.exp() * errors + JITTER)
        return _kernel(log_a, log_length, places, places) + noise

    def unlikely() -> Tensor:
        optimizer.zero_grad()
        factor, fault = torch.linalg.cholesky_ex(covariance())
        solved = torch.linalg.solve_triangular(factor, y, upper=False)
        log_det = y.shape[2] * factor.diagonal(dim1=1, dim2=2).log().sum()
        # Where places are few the likelihood is flat: neither endless nor countless waves.
        held = (log_length - LENGTH).square().sum() + 0.25 * log_a.square().sum()
        held = held + log_factor.square().sum()
        total: Tensor = 0.5 * solved.square().sum() + log_det + 0.5 * held
        total = torch.where(fault.any(), torch.inf, total)
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(unlikely)
    with torch.no_grad():
        factor = torch.linalg.cholesky(covariance())
    log_a, log_length = log_a.detach(), log_length.detach()
    whitening = torch.linalg.solve_triangular(
        factor, torch.eye(len(places)).to(factor).expand_as(factor), upper=False
    )
    weights = torch.cholesky_solve(y, factor)
    return Processes(places, offset, scale, log_a, log_length, whitening, weights)


def _kernel(log_a: Tensor, log_length: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Covariances (K, n, m) of outputs at u (n, P) and v (m, P)."""
    length = log_length.exp()[:, None]
    left, right = u / length, v / length
    half = (left.square().sum(-1)[..., None] + right.square().sum(-1)[:, None]) / 2
    wavy = torch.exp(2 * log_a[:, None, None] - (half - left @ right.mT).clamp(min=0.0))
    return wavy + SLOPES**2 * (1 + u @ v.T)
