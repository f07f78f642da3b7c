"""Others' ways to refine a generator by a discriminator after it was trained, at a given price."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from btgm_cli.core.latent_criterion import CHUNK, LatentCriterion, evaluate
from btgm_cli.tilt.bisection import bisect
from btgm_cli.truth.moves import GRADIENT

SLACK = 1e-6
"""The ε of Azadi et al., which keeps the logarithm of the largest finite."""


def rejected(f: LatentCriterion, n: int, evals: int, generator: torch.Generator) -> Tensor:
    """About n draws z (m, D) by discriminator rejection sampling from p.

    Each of `evals` draws of p is kept with probability σ(F), where M is the largest f and
    F = f − M − log(1 − e^{f−M−ε}) − γ. By γ, for which the paper takes a percentile of F, n are
    expected.

    Discriminator Rejection Sampling (Azadi et al., 2019), https://arxiv.org/abs/1810.06758.
    """
    z = f.model.sample_prior(evals, generator)
    below = evaluate(f, z).double()
    below -= below.max()
    odds = below - torch.log1p(-(below - SLACK).exp())

    def too_many(gamma: float) -> bool:
        return bool(torch.sigmoid(odds - gamma).mean() > n / evals)

    gamma, _ = bisect(too_many, odds.min().item() - 50, odds.max().item() + 50, 60)
    kept = torch.rand(evals, generator=generator).double() < torch.sigmoid(odds - gamma)
    return z[kept]


def langevin(
    f: LatentCriterion, n: int, evals: int, step: float, generator: torch.Generator
) -> Tensor:
    """n draws z (n, D) by Langevin steps on the energy −log p − f, from p.

    z ← z + step/2 ∇(log p + f) + √step ξ, without correction, as many times as `evals` pay for, a
    gradient counting as `truth.moves.GRADIENT` of them.

    Your GAN is Secretly an Energy-based Model and You Should Use Discriminator Driven Latent
    Sampling (Che et al., 2020), https://arxiv.org/abs/2003.06060.
    """
    z = f.model.sample_prior(n, generator)
    for _ in range(evals // (GRADIENT * n)):
        drift = torch.cat([_slope(f, part) for part in z.split(CHUNK)])
        noise = torch.randn(z.shape, generator=generator)
        z = z + step / 2 * drift + math.sqrt(step) * noise
    return z


def _slope(f: LatentCriterion, z: Tensor) -> Tensor:
    """∇(log p + f) at z (n, D)."""
    z = z.detach().requires_grad_()
    (slope,) = torch.autograd.grad((f.model.prior_log_prob(z) + f(z)).sum(), z)
    return slope
