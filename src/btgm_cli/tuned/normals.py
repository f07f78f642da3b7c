"""Mixtures of normal distributions, fitted to weighted draws: proposals that cost no training.

Of few draws in many dimensions a full covariance is mostly noise. So several are fitted to one
part of the draws: full ones, diagonal ones, and ones that leave all but a few directions as they
are under N(0, I). The other part decides, by its mean log density (the cross-entropy method,
Rubinstein & Kroese 2004; in few directions, Uribe et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.tilt.estimates import effective_sample_size, systematic

ROUNDS = 25
"""Of expectation and maximization."""

COMPONENTS = (1, 2, 4, 8)
"""How many normals there may be."""

RANKS = (0, 1, 3, 10)
"""Directions in which a covariance may differ from a multiple of the identity."""

DRAWS_EACH = 20
"""Effective draws that one component needs at least."""

LEAST_VARIANCE = 1e-3
"""Of one direction, of p's: what draws that hardly differ there are taken to have."""


@dataclass(frozen=True)
class Normals:
    """Σₖ πₖ N(μₖ, Lₖ Lₖᵀ): a `truth.exceeding.Source`.

    Args:
        shares: π, shape (K,), of sum 1.
        means: μ, shape (K, D).
        factors: L, lower triangular, shape (K, D, D).
    """

    shares: Tensor
    means: Tensor
    factors: Tensor

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n draws z (n, D), float32, with log q (n,), nats: of each component its share of n."""
        chosen = systematic(self.shares, n, generator)
        noise = torch.randn(
            n, self.means.shape[1], generator=generator, device=generator.device
        ).double()
        away = torch.einsum("nij,nj->ni", self.factors[chosen], noise)
        z = (self.means[chosen] + away).float()
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q (n,) of z (n, D), nats, float64."""
        return torch.logsumexp(self.each(z), -1)

    def each(self, z: Tensor) -> Tensor:
        """log πₖ N(z; μₖ, Lₖ Lₖᵀ), shape (n, K)."""
        away = (z.double()[None] - self.means[:, None]).mT  # (K, D, n)
        white = torch.linalg.solve_triangular(self.factors, away, upper=False)
        volume = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * z.shape[1] * math.log(2 * math.pi) + volume - self.shares.log()
        log_q: Tensor = (-0.5 * white.square().sum(1) - constant[:, None]).T
        return log_q

    def wider(self, factor: float) -> Normals:
        """The same, its standard deviations so many times as large."""
        return Normals(self.shares, self.means, self.factors * factor)


def like(z: Tensor) -> Normals:
    """One normal with the mean and the variances of draws z (n, D), each as likely."""
    return _shaped(
        _moments(
            z.double(), torch.full((len(z),), 1 / len(z), dtype=torch.double, device=z.device)
        ),
        "diagonal",
    )


def fitted(z: Tensor, log_weights: Tensor, generator: torch.Generator) -> Normals:
    """The mixture that serves weighted draws of what it is to be like best.

    Args:
        z: draws, shape (n, D).
        log_weights: of them, shape (n,), nats; −inf is none.
        generator: which draws decide, and where the fits start.
    """
    known = torch.isfinite(log_weights)
    z, log_weights = z[known].double(), log_weights[known].double()
    order = torch.randperm(len(z), generator=generator, device=z.device)
    parts = order[::2], order[1::2]
    scores: dict[tuple[int, str], float] = {}
    for learn, judge in (parts, parts[::-1]):
        w = torch.softmax(log_weights[judge], 0)
        for key, fit in _candidates(z[learn], log_weights[learn], generator):
            scores[key] = scores.get(key, 0.0) + float((w * fit.log_prob(z[judge])).sum())
    components, shape = max(scores, key=lambda key: scores[key])
    best = _fit(z, log_weights, components, generator)
    return _shaped(best, shape)


def _candidates(
    z: Tensor, log_weights: Tensor, generator: torch.Generator
) -> Iterator[tuple[tuple[int, str], Normals]]:
    """Every number of components that the draws can bear, and every shape."""
    effective = effective_sample_size(log_weights)
    for components in COMPONENTS:
        if components > 1 and effective < max(DRAWS_EACH, z.shape[1]) * components:
            return
        fit = _fit(z, log_weights, components, generator)
        for shape in ("full", "diagonal", *(f"{rank}" for rank in RANKS if rank < z.shape[1])):
            yield (components, shape), _shaped(fit, shape)


@dataclass(frozen=True)
class _Moments:
    """Shares (K,), means (K, D) and covariances (K, D, D) of components."""

    shares: Tensor
    means: Tensor
    covariances: Tensor


def _fit(z: Tensor, log_weights: Tensor, components: int, generator: torch.Generator) -> _Moments:
    """Expectation and maximization from centres that lie apart."""
    w = torch.softmax(log_weights, 0)
    centres = _apart(z, w, components, generator)
    nearest = torch.cdist(z, centres).argmin(-1)
    share = torch.nn.functional.one_hot(nearest, components).double()
    found = _moments(z, w, share)
    for _ in range(ROUNDS if components > 1 else 0):
        share = torch.softmax(_normals(found, found.covariances).each(z), -1)
        found = _moments(z, w, share)
    return found


def _apart(z: Tensor, w: Tensor, components: int, generator: torch.Generator) -> Tensor:
    """Centres, each drawn by weight and by the square of its distance (k-means++)."""
    chosen = [int(torch.multinomial(w, 1, generator=generator))]
    distance = torch.full_like(w, math.inf)
    for _ in range(components - 1):
        distance = torch.minimum(distance, (z - z[chosen[-1]]).square().sum(-1))
        by = w * distance
        chosen.append(int(torch.multinomial(by if by.sum() > 0 else w, 1, generator=generator)))
    return z[chosen]


def _moments(z: Tensor, w: Tensor, share: Tensor | None = None) -> _Moments:
    """Of each component, from its share (n, K) of each draw; shrunk where the draws are few."""
    dim = z.shape[1]
    mass = (w[:, None] if share is None else w[:, None] * share).clamp(min=1e-300)
    total = mass.sum(0)
    effective = total.square() / mass.square().sum(0)
    means = (mass.T @ z) / total[:, None]
    away = z[None] - means[:, None]
    covariance = (mass.T[..., None] * away).mT @ away / total[:, None, None]
    diagonal = torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
    to_diagonal = (dim / (dim + effective))[:, None, None]
    covariance = (1 - to_diagonal) * covariance + to_diagonal * diagonal
    eye = torch.eye(dim, dtype=z.dtype, device=z.device)
    to_p = (1 / (1 + effective))[:, None, None]
    covariance = (1 - to_p) * covariance + to_p * eye + LEAST_VARIANCE * eye
    return _Moments(total / total.sum(), means, covariance)


def _normals(found: _Moments, covariances: Tensor) -> Normals:
    return Normals(found.shares, found.means, torch.linalg.cholesky(covariances))


def _shaped(found: _Moments, shape: str) -> Normals:
    """The components with covariances of this shape: `full`, `diagonal`, or a rank."""
    covariances = found.covariances
    if shape == "full":
        return _normals(found, covariances)
    if shape == "diagonal":
        return _normals(found, torch.diag_embed(covariances.diagonal(dim1=-2, dim2=-1)))
    values, vectors = torch.linalg.eigh(covariances)
    typical = values.median(-1, keepdim=True).values
    unlike = (values / typical).log().abs()
    rest = torch.argsort(torch.argsort(unlike, -1, descending=True), -1) >= int(shape)
    common = (values * rest).sum(-1, keepdim=True) / rest.sum(-1, keepdim=True)
    kept = torch.where(rest, common, values)
    return _normals(found, vectors @ torch.diag_embed(kept) @ vectors.mT)
