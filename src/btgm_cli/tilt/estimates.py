"""Maths of the exponential tilt q_β ∝ p exp(βf): estimates from draws, with their errors.

Everything is float64, in nats. Equation numbers are those of Berger & Sebag, *Boltzmann Tuning
of Generative Models* (2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from btgm_cli.core.results import Moments, Reference

ROUNDING = 1e-3
"""nats; differences below are those of float32."""

MIN_ESS = 100.0
"""Fewer effective draws than this carry no figure."""


SMOOTHED_FROM = 1 / 3
"""k̂ below which weights stay as they are, as in ArviZ 0.x: such a tail needs no help. Smoothed all
the same, one of 58 means of f under a rare step at 5 nats was within two of its errors; as they
are, 54."""

LEAST_TAIL = 1e-4
"""nats; log weights that differ by less have no tail, only rounding."""


def moments_of_draws(beta: float, f: Tensor, log_ratio: Tensor) -> Moments:
    """Moments of a tuned model from its own draws (Algorithm 1, second line).

    Args:
        beta: the tilt that the model was trained for.
        f: criterion on draws of q, shape (n,).
        log_ratio: log q(z) − log p(z) on the same draws, shape (n,), nats.
    """
    f, log_ratio = f.double(), log_ratio.double()
    n = f.numel()
    mean = f.mean()
    residual = f - mean
    loss = log_ratio - beta * f
    kl, kl_se = mean_and_error(log_ratio)
    return Moments(
        beta=beta,
        mean=mean.item(),
        mean_se=_standard_error(f),
        var=residual.square().sum().item() / max(n - 1, 1),
        m3=residual.pow(3).mean().item(),
        kl=kl,
        kl_se=kl_se,
        loss=loss.mean().item(),
        loss_se=_standard_error(loss),
        n=n,
    )


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of independent values (n,) and its standard error."""
    return values.mean().item(), _standard_error(values)


def effective_sample_size(log_weights: Tensor) -> float:
    """Kish's (Σw)² / Σw² of importance weights given as logs, shape (n,)."""
    log_weights = log_weights.double()
    return math.exp(
        2 * torch.logsumexp(log_weights, 0).item() - torch.logsumexp(2 * log_weights, 0).item()
    )


def log_mean_weight(log_weights: Tensor) -> tuple[float, float]:
    """Log of the mean weight, which estimates log Z in nats, and its standard error."""
    log_weights = log_weights.double()
    log_mean = torch.logsumexp(log_weights, 0) - math.log(log_weights.numel())
    return log_mean.item(), _standard_error(torch.exp(log_weights - log_mean))


def log_z_bound(log_inverse: Tensor, independent: float) -> tuple[float, float]:
    """An upper bound of log Z from draws of the tilt, and its standard error, nats.

    Over q_β the mean of q̂ / p e^{βf} is 1/Z, wherever q̂ has mass; by Jensen its logarithm is on
    average too low, so that the bound is too high (Grosse, Ghahramani & Adams 2015).

    Args:
        log_inverse: log q̂ − log p − βf, shape (n,), nats; −inf where q̂ has nothing.
        independent: how many independent draws these are worth.
    """
    log_mean, error = log_mean_weight(log_inverse)
    if not math.isfinite(log_mean):
        return math.inf, 0.0
    return -log_mean, error * math.sqrt(log_inverse.numel() / independent)


def below_lower_bound(gap: float, gap_se: float) -> bool:
    """Is log Z below −L(β), so that KL(q̂ ‖ q_β) is negative, by more than four errors? Nats."""
    return gap < -4 * gap_se - ROUNDING


def short_of_lower_bound(log_z: float, log_z_se: float, lower: float, lower_se: float) -> bool:
    """Is log Z below a bound of its own by more than four errors? Nats."""
    return log_z < lower - 4 * math.hypot(lower_se, log_z_se) - ROUNDING


def above_upper_bound(log_z: float, log_z_se: float, upper: float, upper_se: float) -> bool:
    """Is log Z above its upper bound by more than four errors? Nats."""
    return log_z > upper + 4 * math.hypot(upper_se, log_z_se) + ROUNDING


def pareto_smoothed(log_weights: Tensor) -> tuple[Tensor, float]:
    """Log weights whose upper tail is smoothed where it is long, and the shape k̂ of that tail.

    Vehtari et al., *Pareto Smoothed Importance Sampling*, https://arxiv.org/abs/1507.02646.
    Weights with k̂ above `largest_reliable_k(n)` carry no trustworthy estimate. Where the largest
    weights are all equal there is no tail to fit: the weights as they are, and −inf.

    Args:
        log_weights: unnormalized, shape (n,).
    """
    raw = log_weights.double().cpu().numpy()
    if not np.isfinite(raw).all():
        return log_weights.double(), math.inf
    tail = np.sort(raw)[-math.ceil(3 * math.sqrt(raw.size)) - 1 :]
    if np.ptp(tail) < LEAST_TAIL:
        return log_weights.double(), -math.inf
    # Imported here: it takes two seconds, which `btgm --help` need not wait for.
    from arviz_stats.base import array_stats  # noqa: PLC0415

    # It takes what leave-one-out starts from: log likelihoods, the negatives of log weights. It
    # returns normalized weights; the smallest is in no tail and tells the constant.
    with np.errstate(all="ignore"):
        smoothed, k = array_stats.psislw(raw.max() - raw)
    if not (np.isfinite(smoothed).all() and math.isfinite(k)):
        # Most of the tail is equal and no Pareto fits: harmless if it is low.
        return log_weights.double(), -math.inf if np.ptp(tail) < 1 else math.inf
    if k < SMOOTHED_FROM:
        return log_weights.double(), float(k)
    lowest = raw.argmin()
    smoothed = smoothed - smoothed[lowest] + raw[lowest]
    return torch.from_numpy(smoothed).to(log_weights.device), float(k)


def pareto_k(log_weights: Tensor) -> float:
    """Shape k̂ of the weights' upper tail; see `pareto_smoothed`."""
    return pareto_smoothed(log_weights)[1]


def largest_reliable_k(n: int) -> float:
    """min(1 − 1/log₁₀ n, 0.7), the sample-size-aware threshold of the PSIS paper."""
    return min(1.0 - 1.0 / math.log10(n), 0.7)


def importance_reference(beta: float, f: Tensor) -> Reference:
    """The tilt at β by Pareto-smoothed importance sampling from p (Eqs. 29–31).

    Eq. 31 as printed lacks a β; this is KL = β E_q f − log Z(β). The estimate is biased where the
    weights degenerate, so it is `reliable` only with at least `MIN_ESS` effective draws and a
    Pareto k̂ below `largest_reliable_k`. Standard errors by the delta method. Where some f are
    not finite nothing is known: NaN, not reliable.

    Args:
        beta: the tilt.
        f: criterion on draws of p, shape (n,).
    """
    f = f.double()
    n = f.numel()
    log_w, k = pareto_smoothed(beta * f)
    log_z = torch.logsumexp(log_w, 0) - math.log(n)
    w = torch.exp(log_w - log_z)  # mean 1
    mean = (w * f).mean()
    residual = f - mean
    ess = effective_sample_size(log_w)
    return Reference(
        beta=beta,
        mean=mean.item(),
        mean_se=_standard_error(w * residual),
        var=(w * residual.square()).mean().item(),
        m3=(w * residual.pow(3)).mean().item(),
        kl=(beta * mean - log_z).item() + 0.0,  # no "-0.0" at β = 0
        kl_se=_standard_error(w * (beta * residual - 1.0)),
        log_z=log_z.item(),
        log_z_se=_standard_error(w),
        method="psis",
        ess=ess,
        pareto_k=k,
        reliable=ess >= MIN_ESS and k <= largest_reliable_k(n),
    )


def kl_gap(moments: Moments, reference: Reference) -> tuple[float, float]:
    """KL(q̂_β ‖ q_β) = L(β) + log Z(β) in nats, and its standard error.

    Exactly 0 for the exact tilt and positive for any other model; an estimate may be negative by
    its error.
    """
    gap = moments.loss + reference.log_z
    return gap, math.hypot(moments.loss_se, reference.log_z_se)


def few_repeats(n: int) -> float:
    """How much wider an error from n repeats is than one from many, so that ± 2 of it hold 95 %.

    By Student's t with n − 1 degrees of freedom; infinite for a single one.
    """
    # Imported here: it takes a third of a second, which `btgm --help` need not wait for.
    from scipy.special import ndtri, stdtrit  # noqa: PLC0415

    return float(stdtrit(n - 1, 0.975) / ndtri(0.975)) if n > 1 else math.inf


def jackknife(statistic: Callable[[Tensor], float], groups: Tensor) -> float:
    """Standard error of a statistic of draws that are independent from group to group alone.

    By leaving out one group at a time, as particles of an SMC ask for, which have ancestors in
    common within a population (Quenouille 1956; Tukey 1958); widened, since groups are few.

    Args:
        statistic: of the draws where a mask (n,) is true; it may be biased, as a variance is.
        groups: number of each draw's group, shape (n,).
    """
    each = torch.tensor(
        [statistic(groups != group) for group in groups.unique()], dtype=torch.double
    )
    count = len(each)
    spread = each.var(correction=0) * (count - 1)
    return few_repeats(count) * math.sqrt(spread.item())


def systematic(weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Indices (n,) of draws by weights (m,): each as often as its share, give or take one."""
    start = torch.rand((), generator=generator, device=weights.device, dtype=torch.double)
    points = (torch.arange(n, device=weights.device) + start) / n
    edges = weights.double().cumsum(0)
    return torch.searchsorted(edges / edges[-1], points).clamp(max=weights.numel() - 1)


def _standard_error(values: Tensor) -> float:
    n = values.numel()
    return values.double().std().item() / math.sqrt(n) if n > 1 else math.inf
