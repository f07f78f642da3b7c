"""Penalties on the slopes of a critic, by units of data (n, *X): images, or rows of a table."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Critic = Callable[[Tensor], Tensor]


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator) -> Tensor:
    """E (|grad D(x)| - 1)^2 at x = u real + (1 - u) fake, u uniform (Gulrajani et al., 2017).

    Args:
        critic: Units to scores of shape (n,), or (n, 1).
        real: Real units (n, *X).
        fake: As many generated ones.
        rng: A CPU generator, for u: one number for each pair.
    """
    shape = (len(real), *[1] * (real.dim() - 1))
    u = torch.rand(shape, generator=rng).to(real)
    norms = _squared_slope(critic, u * real + (1 - u) * fake).sqrt()
    return (norms - 1).square().mean()


def r1_penalty(critic: Critic, real: Tensor) -> Tensor:
    """E |grad D(x)|^2 / 2 at the real units.

    Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018),
    https://arxiv.org/abs/1801.04406.
    """
    return 0.5 * _squared_slope(critic, real).mean()


def _squared_slope(critic: Critic, x: Tensor) -> Tensor:
    """|grad D(x)|^2 for each unit, shape (n,), itself differentiable."""
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return slope.flatten(1).square().sum(1)
