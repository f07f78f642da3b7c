"""A bistable dimer in a dense fluid of soft discs, 76 dimensions (*Boltzmann Generators*)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError

PARTICLES = 38
"""Two of the dimer, which come first, and 36 of the fluid, in the plane."""

MIDDLE = 1.5
"""Distance of the dimer's particles at its barrier: closed below, open above."""

SQUARED_SIZE = 1.1**2
"""Squared distance at which two discs repel each other by 1 kT."""


def dimer(
    x: Tensor, linear: float = 2.0, quadratic: float = -25.0, quartic: float = 10.0
) -> Tensor:
    """Energy of the dimer, the fluid and its box, in kT at T = 1.

    With d the distance of the dimer's two particles and δ = 2 (d − 1.5),

        u = 20 ((x₁ + x₂)² + y₁² + y₂²) + a δ + b δ² + c δ⁴
            + Σ (1.1 / r)¹² over all other pairs + Σ 200 max(0, |coordinate| − 3)²

    Constants are those of its code (`deep_boltzmann`, `ParticleDimer`). There a is −0.5 unless it
    is given, the published free energies are of 2, and walls count twice while a flow is trained.

    Args:
        x: shape (n, 76): x and y of each particle in turn.
        linear: a; the larger, the more the closed dimer is favoured.
        quadratic: b.
        quartic: c.

    Raises:
        SettingError: another number of dimensions.
    """
    if x.shape[-1] != 2 * PARTICLES:
        expected = f"is defined in {2 * PARTICLES} dimensions, and this model has x of shape "
        raise SettingError("criterion.system", "dimer", f"{expected}{tuple(x.shape[1:])}")
    middle, off_axis = x[:, 0] + x[:, 2], x[:, [1, 3]]
    place = 20 * (middle.square() + off_axis.square().sum(-1))
    own = own_energy(stretch_of(x), linear, quadratic, quartic)
    walls = 200 * (x.abs() - 3).clamp(min=0).square().sum(-1)
    pushes = _Repulsion.apply(x.view(-1, PARTICLES, 2))
    total: Tensor = place + own + pushes + walls
    return total


def own_energy(stretch: Tensor, linear: float, quadratic: float, quartic: float) -> Tensor:
    """The dimer's own: a δ + b δ² + c δ⁴, of any shape, kT at T = 1."""
    return linear * stretch + quadratic * stretch.square() + quartic * stretch.pow(4)


def stretch_of(x: Tensor) -> Tensor:
    """δ = 2 (d − 1.5) of x (n, 76), shape (n,)."""
    return 2 * ((x[:, 0:2] - x[:, 2:4]).norm(dim=-1) - MIDDLE)


class _Repulsion(torch.autograd.Function):
    """Σ (1.1 / r)¹² over all pairs of discs at (n, N, 2) but the first two, N even, shape (n,).

    Each disc beside the k-th behind it, around the row. Its gradient comes with it, in a third of
    the time that autograd takes; a hundred thousand of them make a free energy.
    """

    @staticmethod
    def forward(ctx: Any, at: Tensor) -> Tensor:
        number, total = at.shape[1], at.new_zeros(len(at))
        places = [each.contiguous() for each in at.unbind(-1)]
        slopes = [torch.zeros_like(each) for each in places]
        for shift in range(1, number // 2 + 1):
            away = [each - each.roll(shift, 1) for each in places]
            close = SQUARED_SIZE / (away[0].square() + away[1].square())
            push = (close * close * close).square()  # `pow` takes much longer
            if shift == 1:
                push[:, 1] = 0  # the dimer's own
            if 2 * shift == number:
                push = push / 2  # each pair comes twice
            total += push.sum(-1)
            if ctx.needs_input_grad[0]:
                force = push * close
                for axis, distance in enumerate(away):
                    pull = force * distance
                    slopes[axis] += pull.roll(-shift, 1) - pull
        ctx.save_for_backward(torch.stack(slopes, -1) * (12 / SQUARED_SIZE))
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (slopes,) = ctx.saved_tensors
        found: Tensor = grad[:, None, None] * slopes
        return found
