"""Moves that follow the gradient of f, where it is cheap and the latent space is wide.

Crank–Nicolson moves know nothing of f: in D dimensions they forget in some D of them. Behind
far moves is a learned s, which learns little there from as many values as an SMC can pay for. A
trajectory of Hamiltonian dynamics under log p + βf goes as far as the tilt is wide, in some D^¼
gradients (Duane et al. 1987; Neal 2011), and the Metropolis test at its end leaves the tilt as it
is. Particles stay in the mode that they are in, as with all moves here: the modes' shares are what
they were when the tilts began to have them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from btgm_cli.core.latent_criterion import CHUNK, LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.truth.moves import MEMORY, ParticleCriterion, coins, memory
from btgm_cli.tuned.acceptance import Acceptance

WIDE = 64
"""Dimensions from which on a reference follows gradients; below, other moves serve."""

CHEAP = 10.0
"""f may cost so many times the operations of s, of which a rung of guided moves takes 300 for
each particle, beside its fits; one of these moves takes some 100 gradients."""

WANTED_ACCEPTANCE = 0.8
"""Of trajectories; they are worth most at 0.65 and more (Beskos et al. 2013)."""

SMALLEST_STEP = 1e-4
"""Of a trajectory, in standard deviations, however little is accepted."""

LEAST, MOST = 2, 10
"""Trajectories at one rung: at least, since f can be forgotten by chance; and before going on
although the particles remember."""

FIRST_REACH, MOST_STEPS, SHORTER = math.pi / 2, 32, 1.2
"""Length of a trajectory in standard deviations: the first, in which a normal distribution forgets
its start; it doubles where a rung remembers, up to so many steps, and where the least trajectories
suffice it is so many times shorter at the next."""

SHOWN = 4
"""One in so many particles shows others what it asked for, in the first trajectory of a rung; to
keep all of it would take a gigabyte in 256 dimensions."""


def has_cheap_gradient(f: LatentCriterion, device: torch.device | str = "cpu") -> bool:
    """Has f̂ a gradient, at no more than some times the price of s?

    Operations are counted rather than seconds, those of matrix products and convolutions, so that
    the answer is the same wherever it is asked.
    """
    z = f.model.sample_prior(2, derived_generator(0, "gradient", device=device)).requires_grad_()
    with torch.enable_grad(), FlopCounterMode(display=False) as of_f:
        values = f(z)
    s = Acceptance(f.model.latent_dim, members=1).to(device)
    with torch.no_grad(), FlopCounterMode(display=False) as of_s:
        s.predict(z)
    differentiable = values.grad_fn is not None and f.model.prior_log_prob(z).grad_fn is not None
    return differentiable and of_f.get_total_flops() <= CHEAP * of_s.get_total_flops()


@dataclass(frozen=True)
class _Place:
    """Particles z (n, D), f and log p + βf on them, (n,), and the gradient of that, (n, D)."""

    z: Tensor
    f: Tensor
    log_density: Tensor
    gradient: Tensor

    def where(self, chosen: Tensor, other: _Place) -> _Place:
        """These where chosen (n,), the other's elsewhere."""
        return _Place(
            torch.where(chosen[:, None], self.z, other.z),
            torch.where(chosen, self.f, other.f),
            torch.where(chosen, self.log_density, other.log_density),
            torch.where(chosen[:, None], self.gradient, other.gradient),
        )


class GradientMoves:
    """Hamiltonian moves, whose step and length are adapted from trajectory to trajectory.

    Args:
        f: the latent criterion f̂, with its model.
    """

    def __init__(self, f: LatentCriterion) -> None:
        self._f = f
        self._step, self._reach = 0.5, FIRST_REACH
        self.gradients = 0

    def __call__(
        self,
        beta: float,
        z: Tensor,
        f: Tensor,
        evaluate: ParticleCriterion,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Particles z (n, D) and f (n,) after the moves at β."""
        here = self._place(beta, z)
        scale = _scale(here)
        for number in range(1, MOST + 1):
            end, log_ratio = self._trajectory(beta, here, scale, generator)
            if number == 1:
                known = torch.isfinite(log_ratio)[::SHOWN]
                evaluate(end.z[::SHOWN][known])
            accepted = coins(log_ratio, f.dtype, generator) & torch.isfinite(log_ratio)
            here = end.where(accepted, here)
            share = log_ratio.nan_to_num(-math.inf, -math.inf).clamp(max=0).exp().mean().item()
            longer = math.exp((share - WANTED_ACCEPTANCE) / 2)
            self._step = max(self._step * longer, SMALLEST_STEP)
            forgotten = memory(f, here.f) < MEMORY
            if forgotten and number >= LEAST:
                break
        if not forgotten:
            self._reach = min(2 * self._reach, MOST_STEPS * self._step)
        elif number == LEAST:
            self._reach = max(self._reach / SHORTER, FIRST_REACH)
        return here.z, here.f

    def _trajectory(
        self, beta: float, start: _Place, scale: Tensor, generator: torch.Generator
    ) -> tuple[_Place, Tensor]:
        """Where one leads from each particle, and the log ratio of its acceptance, shape (n,)."""
        device, dtype = start.z.device, start.z.dtype
        speed = torch.randn(start.z.shape, generator=generator, device=device, dtype=dtype)
        # Of one length, trajectories come back to where they were in some directions.
        share = 0.5 + 0.5 * torch.rand((), generator=generator, device=device).item()
        steps = min(MOST_STEPS, math.ceil(share * self._reach / self._step))
        step = min(share * self._reach / steps, self._step)
        here, energy = start, start.log_density + _log_normal(speed)
        for _ in range(steps):
            speed = speed + step / 2 * scale * here.gradient
            here = self._place(beta, here.z + step * scale * speed)
            speed = speed + step / 2 * scale * here.gradient
        return here, here.log_density + _log_normal(speed) - energy

    def _place(self, beta: float, z: Tensor) -> _Place:
        """What is to be known at z (n, D); a gradient that is no number counts as none."""
        self.gradients += len(z)
        parts = [self._part(beta, part) for part in z.split(CHUNK)]
        return _Place(z, *(torch.cat(each) for each in zip(*parts, strict=True)))

    def _part(self, beta: float, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            f = self._f(z)
            log_density = beta * f + self._f.model.prior_log_prob(z)
            (gradient,) = torch.autograd.grad(log_density.sum(), z)
        return f.detach().double(), log_density.detach().double(), gradient.nan_to_num(0, 0, 0)


def _scale(here: _Place) -> Tensor:
    """How far each coordinate may be moved, shape (D,).

    A mode is about as wide as 1 / sd of the gradient, all modes together as the sd of z; for a
    normal distribution these are the same, and else their geometric mean serves, as in nutpie.
    """
    tiny = torch.finfo(here.z.dtype).tiny
    ratio: Tensor = here.z.var(0).clamp(min=tiny) / here.gradient.var(0).clamp(min=tiny)
    return ratio.sqrt().sqrt()


def _log_normal(speed: Tensor) -> Tensor:
    """Log density of speeds (n, D) up to a constant, shape (n,)."""
    found: Tensor = -0.5 * speed.double().square().sum(-1)
    return found
