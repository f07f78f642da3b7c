"""Which criterion is easiest to tune towards? Told ex ante, from draws of p alone (§4.2).

Criteria are compared normalized, f̃ = (f − E_p f) / √Var_p f, since an affine transformation
leaves the tilts as they are. How hard a tilt is lies in the slope of log q_β/p, which is β ∇f.
Its mean square under q_β is the relative Fisher information I(q_β‖p), and for p = N(0, I) the
log-Sobolev inequality says how little of it a divergence needs: 2 KL(q‖p) ≤ I(q‖p), with equality
for a translation, the easiest that a flow can learn. The ratio of the two is the difficulty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from btgm_cli.core.blame import blaming
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import CHUNK
from btgm_cli.core.results import Reference
from btgm_cli.tilt.bisection import bisect
from btgm_cli.tilt.estimates import importance_reference, pareto_smoothed
from btgm_cli.truth.references import STRONGEST

GRID = tuple(np.geomspace(0.1, STRONGEST, 21).tolist())
"""β̃ = β √Var_p f of the walk: from hardly a tilt (0.005 nats) to where `btgm run` stops too."""

BUDGETS = (0.5, 1.0, 2.0, 4.0)
"""KL in nats at which the Pareto k̂ of importance sampling from p is predicted."""

FLAT = 0.05
"""Of the mean norm: on a plateau, a step changes f by less than a twentieth of what is usual."""

LEAST_DRAWS = 1000
"""Fewer tell no 99th percentile: of so many, ten draws lie beyond."""

BISECTIONS = 15
"""Of a step of the grid, a factor of 1.6: β to a relative 2e-5."""


@dataclass(frozen=True)
class Look:
    """What draws of p tell of one criterion.

    Args:
        f: the criterion, shape (n,), in its own unit.
        norms: |∇_z f̃| of the normalized criterion, shape (n,); NaN where f has no gradient.
    """

    f: Tensor
    norms: Tensor

    @property
    def mean(self) -> float:
        """E_p f."""
        return self.f.mean().item()

    @property
    def std(self) -> float:
        """√Var_p f."""
        return self.f.std().item()

    @property
    def normalized(self) -> Tensor:
        """f̃, shape (n,)."""
        return (self.f - self.mean) / self.std


@dataclass(frozen=True)
class Ranked:
    """One row of `ranking.csv`. Norms are |∇_z f̃|, divergences in nats.

    Args:
        difficulty: I(q_β‖p) / (2 KL(q_β‖p)), with its standard error; NaN if it is not known.
        kl_compared: KL(q_β‖p) there: what was asked for, or the largest below that is known.
        beta: the tilt there; `beta_normalized` is β √Var_p f.
        mean: E_p f, and `std` √Var_p f, in the criterion's unit.
        plateau: share of the draws whose norm is at most `FLAT` of the mean norm.
        tail_ratio: 99th percentile over median of the norm.
        kl_max: the largest KL that can be reached; where `kl_max_is_bound`, the largest that the
            draws can show, and there may be more.
        pareto_k: k̂ of importance sampling from p at each of `BUDGETS`; NaN if out of reach.
    """

    criterion: str
    difficulty: float
    difficulty_se: float
    kl_compared: float
    beta: float
    beta_normalized: float
    mean: float
    std: float
    norm_median: float
    norm_mean: float
    norm_p99: float
    norm_max: float
    plateau: float
    tail_ratio: float
    kl_max: float
    kl_max_is_bound: bool
    pareto_k: tuple[float, ...] = field(repr=False)

    @property
    def row(self) -> dict[str, Any]:
        """The columns of `ranking.csv`."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "pareto_k"}
        named = zip(BUDGETS, self.pareto_k, strict=True)
        return plain | {f"pareto_k_at_kl_{kl:g}": k for kl, k in named}

    @property
    def remark(self) -> str:
        """Why it is not compared like the others; empty if it is."""
        if not self.norm_max > 0:
            return "last for want of a gradient in z; btgm run will use the score gradient"
        if math.isnan(self.difficulty):
            return "last, because these draws of p show no tilt; raise n"
        if self.kl_compared < self.kl_max:
            return ""
        why = "these draws of p show no more" if self.kl_max_is_bound else "no tilt reaches more"
        return f"compared at a smaller KL, because {why}"


def values(name: str, f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """f(z), shape (n,), if that is what it gives.

    Args:
        name: of the criterion, for messages.
        f: the criterion as a function of the latent z.
        z: draws of p, shape (n, D).

    Raises:
        SettingError: f fails, or does not return n finite floats.
    """
    with blaming("criteria", name, "fails on this model's x"):
        found = f(z)
    if found.shape != z.shape[:1] or not found.is_floating_point():
        expected = f"f must return floats of shape (n,), not {tuple(found.shape)} {found.dtype}"
        raise SettingError("criteria", name, expected)
    bad = (~torch.isfinite(found)).double().mean().item()
    if bad:
        raise SettingError("criteria", name, f"f is not finite for {bad:.1%} of {len(z)} draws")
    return found


def look(name: str, f: Callable[[Tensor], Tensor], z: Tensor) -> Look:
    """Values and slopes of one criterion on draws of p; arguments as for `values`.

    Raises:
        SettingError: f fails or is constant, or its values or gradient are not finite.
    """
    parts = [_with_slope(name, f, part) for part in z.split(CHUNK)]
    found, norms = (torch.cat(column) for column in zip(*parts, strict=True))
    std = found.std().item()
    if not std > 0:
        expected = f"f is {found[0].item():.4g} for every draw of p: a constant has no tilt"
        raise SettingError("criteria", name, expected)
    return Look(found, norms / std)


def walk(seen: Look) -> list[Reference]:
    """The tilts of f̃ along `GRID`, by importance sampling from p."""
    return [importance_reference(beta, seen.normalized) for beta in GRID]


def rank(name: str, seen: Look, tilts: Sequence[Reference], kl: float) -> Ranked:
    """Sum up one criterion.

    Args:
        name: of the criterion.
        seen: its values and slopes.
        tilts: its `walk`.
        kl: at which criteria are compared, nats.
    """
    f, norms = seen.normalized, seen.norms
    known = [importance_reference(0.0, f), *takewhile(lambda tilt: tilt.reliable, tilts)]
    beta = _beta_at(kl, f, known)
    compared = known[-1] if beta is None else importance_reference(beta, f)
    difficulty, error = _difficulty(compared, f, norms)
    reached = [_beta_at(budget, f, tilts) for budget in BUDGETS]
    flat = norms <= FLAT * norms.mean()
    median, top = norms.quantile(norms.new_tensor([0.5, 0.99])).tolist()
    return Ranked(
        criterion=name,
        difficulty=difficulty,
        difficulty_se=error,
        kl_compared=compared.kl,
        beta=compared.beta / seen.std,
        beta_normalized=compared.beta,
        mean=seen.mean,
        std=seen.std,
        norm_median=median,
        norm_mean=norms.mean().item(),
        norm_p99=top,
        norm_max=norms.max().item(),
        plateau=math.nan if math.isnan(median) else flat.double().mean().item(),
        tail_ratio=top / median if median else math.inf,
        kl_max=known[-1].kl,
        kl_max_is_bound=known[-1].beta < tilts[-1].beta,
        pareto_k=tuple(math.nan if b is None else pareto_smoothed(b * f)[1] for b in reached),
    )


def _with_slope(name: str, f: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """f and |∇_z f|, each of shape (n,), in double precision on the CPU."""
    z = z.detach().requires_grad_()
    found = values(name, f, z)
    plain = found.detach().double().cpu()
    gradient = None
    if found.grad_fn is not None:
        (gradient,) = torch.autograd.grad(found.sum(), z, allow_unused=True)
    if gradient is None:
        return plain, plain * math.nan
    if not torch.isfinite(gradient).all():
        raise SettingError("criteria", name, "the gradient of f is not finite for some draws of p")
    return plain, gradient.double().norm(dim=-1).cpu()


def _beta_at(kl: float, f: Tensor, tilts: Sequence[Reference]) -> float | None:
    """The β at which the tilt of f (n,) has this KL in nats; None if none of `tilts` has it."""
    above = next((i for i, tilt in enumerate(tilts) if tilt.kl >= kl), None)
    if above is None:
        return None
    low, high = tilts[above - 1].beta if above else 0.0, tilts[above].beta
    return bisect(lambda beta: importance_reference(beta, f).kl < kl, low, high, BISECTIONS)[1]


def _difficulty(tilt: Reference, f: Tensor, norms: Tensor) -> tuple[float, float]:
    """I / (2 KL) at this tilt of f (n,) with slopes `norms` (n,), and its standard error.

    The error is by the delta method, and knows that β was chosen for its estimated KL.
    """
    if not (tilt.kl > 0 and norms.max() > 0):
        return math.nan, math.nan
    w = torch.exp(pareto_smoothed(tilt.beta * f)[0] - tilt.log_z)  # mean 1
    slope = (tilt.beta * norms).square()
    information = (w * slope).mean()
    residual = f - tilt.mean
    by_beta = 2 * information / tilt.beta + (w * slope * residual).mean()  # ∂I/∂β
    by_kl = by_beta / (tilt.beta * tilt.var)  # ∂KL/∂β = β Var_q f
    influence = w * (slope - information) - by_kl * w * (tilt.beta * residual - 1.0)
    scale = 2 * tilt.kl
    return information.item() / scale, influence.std().item() / math.sqrt(f.numel()) / scale
