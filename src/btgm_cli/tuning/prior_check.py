"""Are the draws of a prior those of its density? Asked before the work, of any prior.

Gibbs' inequality: E_r log r ≥ E_r log s for densities r and s. Let q be a density fitted to one
half of the draws of p. Were the mean of log q higher than that of log p on the other half, or the
mean of log p higher than that of log q on draws of q, then a divergence of the two would be
negative: p is not the density of its draws, or none at all. If p is right, the sum of n such
differences exceeds log(1/α) with a probability of at most α, whatever q and n are, for the product
of their likelihood ratios has mean 1 (universal inference: Wasserman, Ramdas & Balakrishnan 2020).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from btgm_cli.core.blame import blaming, name_of
from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.errors import SettingError

N_FIT = 5000
"""Draws that q is fitted to; as many are held out."""

ALPHA = 1e-8
"""A right prior is refused with at most this probability by each of the three questions."""

RIDGE = 1e-6
"""Of the variances, added to them: draws may lie in a plane."""


def check_prior(model: GenerativeModel, generator: torch.Generator) -> None:
    """Hold draws of a prior against its density.

    Raises:
        SettingError: they disagree; says by how many nats a draw.
    """
    with blaming("model", name_of(model), "sample_prior or prior_log_prob fails"):
        fit, held = model.sample_prior(2 * N_FIT, generator).split(N_FIT)
        log_p = model.prior_log_prob(held).detach().double().cpu()
        normal = _normal(fit)
        _refuse_if_likelier(model, normal.log_prob(held.double().cpu()) - log_p, "a normal one")
        moved = _moved(model, fit, held)
        if moved is not None:
            _refuse_if_likelier(model, moved - log_p, "itself, moved and scaled,")
        _check_mass(model, normal, held, generator)


def _refuse_if_likelier(model: GenerativeModel, ratio: Tensor, other: str) -> None:
    """Refuse log likelihood ratios (n,) that speak for another density than the model's."""
    if ratio.sum().item() > -math.log(ALPHA):
        expected = (
            "prior_log_prob is not the density of what sample_prior draws: on fresh draws, "
            f"{other} fitted to others is likelier by {ratio.mean().item():.3g} nats each"
        )
        raise SettingError("model", name_of(model), expected)


def _check_mass(
    model: GenerativeModel, normal: MultivariateNormal, like: Tensor, generator: torch.Generator
) -> None:
    """Refuse a density of more than mass 1, by draws of one that is normal."""
    noise = torch.randn(like.shape, generator=generator, device=generator.device)
    y = normal.loc + noise.double().cpu() @ normal.scale_tril.T
    log_p = model.prior_log_prob(y.to(like)).detach().double().cpu()
    excess = log_p - normal.log_prob(y.to(like).double().cpu())
    if excess.sum().item() > -math.log(ALPHA):
        expected = (
            "prior_log_prob is no density, for its integral is not 1: it exceeds the normal one "
            f"of its draws by {excess.mean().item():.3g} nats; is its constant right?"
        )
        raise SettingError("model", name_of(model), expected)


def _normal(fit: Tensor) -> MultivariateNormal:
    """The normal distribution of draws (n, D), in double precision on the CPU."""
    z = fit.double().cpu()
    covariance = torch.cov(z.T).reshape(z.shape[1], z.shape[1])
    tiny = torch.finfo(fit.dtype).tiny
    covariance.diagonal().mul_(1 + RIDGE).add_(tiny)
    return MultivariateNormal(z.mean(0), covariance)


def _moved(model: GenerativeModel, fit: Tensor, held: Tensor) -> Tensor | None:
    """log of p(a z + b)·|a| of the held draws, a and b (D,) fitted; None without a gradient."""
    log_a = torch.zeros_like(fit[0]).requires_grad_()
    b = torch.zeros_like(fit[0]).requires_grad_()

    def log_density(z: Tensor) -> Tensor:
        return model.prior_log_prob(log_a.exp() * z + b) + log_a.sum()

    if not log_density(fit[:2]).requires_grad:
        return None
    search = torch.optim.LBFGS([log_a, b], max_iter=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        value = -log_density(fit).mean()
        log_a.grad, b.grad = torch.autograd.grad(value, (log_a, b), materialize_grads=True)
        return value.detach()

    search.step(loss)
    with torch.no_grad():
        found = log_density(held).double().cpu()
    return found if torch.isfinite(found).all() else None
