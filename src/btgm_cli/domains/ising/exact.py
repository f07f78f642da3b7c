"""What is known exactly of the Ising model on a torus: by enumeration and Kaufman's formula."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CRITICAL = math.log(1 + math.sqrt(2)) / 2
"""K of the critical point of the infinite lattice (Onsager 1944)."""

MOST_SPINS = 20
"""More are not enumerated."""


@dataclass(frozen=True)
class Thermodynamics:
    """Of an L × L torus at one coupling, each number of one spin but log Z, which is of all.

    Args:
        log_z: nats.
        energy: −⟨Σ sᵢsⱼ⟩/n over bonds, in J; the outer field's part is left out.
        heat_capacity: K² Var(energy) n, in k_B; the derivative of the energy by the temperature
            where h = 0.
        magnetization: ⟨|Σ sᵢ|⟩/n; NaN where the formula does not tell.
    """

    log_z: float
    energy: float
    heat_capacity: float
    magnetization: float


def all_spins(size: int) -> Tensor:
    """Every state of an L × L torus, shape (2ⁿ, n), of ±1, float64."""
    n = size**2
    if n > MOST_SPINS:
        raise ValueError(f"size={size}: more than {MOST_SPINS} spins are not enumerated")
    bits = torch.arange(2**n)[:, None] >> torch.arange(n) & 1
    return 2.0 * bits.double() - 1.0


def bonds(spins: Tensor, size: int) -> Tensor:
    """Σ sᵢsⱼ over the bonds of the torus, shape (…,), for spins (…, n)."""
    s = spins.unflatten(-1, (size, size))
    found: Tensor = (s * (s.roll(1, -1) + s.roll(1, -2))).sum((-1, -2))
    return found


def enumerated(size: int, coupling: float, field: float = 0.0) -> Thermodynamics:
    """By summing over all states."""
    spins = all_spins(size)
    bond, total, n = bonds(spins, size), spins.sum(-1), size**2
    log_w = coupling * bond + field * total
    p = torch.softmax(log_w, 0)
    mean = (p * bond).sum()
    return Thermodynamics(
        log_z=torch.logsumexp(log_w, 0).item(),
        energy=-mean.item() / n,
        heat_capacity=coupling**2 * (p * (bond - mean).square()).sum().item() / n,
        magnetization=(p * total.abs()).sum().item() / n,
    )


def kaufman(size: int, coupling: float) -> Thermodynamics:
    """By Kaufman's formula (Phys. Rev. 76, 1232, 1949), without an outer field.

    Energy and heat capacity are its derivatives by K.
    """
    k = torch.tensor(coupling, dtype=torch.double, requires_grad=True)
    log_z = kaufman_log_z(size, k)
    (first,) = torch.autograd.grad(log_z, k, create_graph=True)
    (second,) = torch.autograd.grad(first, k)
    n = size**2
    return Thermodynamics(
        log_z=log_z.item(),
        energy=-first.item() / n,
        heat_capacity=coupling**2 * second.item() / n,
        magnetization=math.nan,
    )


def kaufman_log_z(size: int, coupling: Tensor) -> Tensor:
    """log Z of an L × L torus in nats, differentiable in K, of shape ().

    Z = ½ (2 sinh 2K)^{n/2} (Π 2 cosh ½Lγ_odd + Π 2 sinh ½Lγ_odd + Π 2 cosh ½Lγ_even
    ± Π 2 sinh ½Lγ_even), cosh γ_k = cosh 2K coth 2K − cos πk/L and γ₀ = 2K + log tanh K.
    """
    k = torch.arange(2 * size, dtype=torch.double)
    two = 2 * coupling
    cosh = torch.cosh(two) / torch.tanh(two) - torch.cos(math.pi * k[1:] / size)
    first = two + torch.log(torch.tanh(coupling))  # changes its sign at the critical point
    even, odd = torch.acosh(cosh[1::2]), torch.acosh(cosh[0::2])
    # γ₀ is 0 at the critical point, and a product that is divided by it has no derivative there.
    parts = [
        _log_product(odd, size) + torch.log1p(torch.tanh(size * odd / 2).prod()),
        _log_product(torch.cat([first[None], even]), size)
        + torch.log1p(torch.tanh(size * first / 2) * torch.tanh(size * even / 2).prod()),
    ]
    log_factor = size**2 / 2 * torch.log(2 * torch.sinh(two)) - math.log(2)
    return log_factor + torch.logaddexp(*parts)


def _log_product(gamma: Tensor, size: int) -> Tensor:
    """log Π 2 cosh ½Lγ, of shape ()."""
    return torch.logaddexp(size * gamma / 2, -size * gamma / 2).sum()


def mean_field(size: int, coupling: float, field: float = 0.0) -> float:
    """−F of the best state of independent, equal spins, nats: no more than log Z.

    The lecture's variational free energy: n times the most over m of 2K m² + hm + S(m), S the
    entropy of one spin of mean m. What log Z has more is KL(that state ‖ Ising).
    """
    m = torch.linspace(-1, 1, 200_001, dtype=torch.double)
    up = (1 + m) / 2
    entropy = -torch.xlogy(up, up) - torch.xlogy(1 - up, 1 - up)
    return size**2 * (2 * coupling * m.square() + field * m + entropy).max().item()
