"""Simulators that ship: each gives n independent units of data at one θ, by a NumPy generator.

The first three are those of *Adversarial Variational Optimization of Non-Differentiable
Simulators* (Louppe, Hermans & Cranmer, AISTATS 2019), with its constants; their likelihoods are
known, and so their posteriors by quadrature (`truths`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROTATION = np.array(
    [
        [1.31, -0.42, 0.17, 0.55, -0.08],
        [-0.23, 0.97, 0.61, -0.34, 0.12],
        [0.46, 0.28, 1.12, 0.09, -0.51],
        [0.05, -0.66, 0.33, 0.88, 0.27],
        [-0.37, 0.14, -0.25, 0.41, 1.04],
    ]
)
"""R of the 5-D simulator, fixed and invertible. AVO draws one and does not print it; no posterior
of (α, β) depends on it, for x = Rz loses nothing of z."""

WIDTH_1 = 3.0
"""Standard deviation of z₁ of the 5-D simulator."""

Z_BOSON = 90.0
"""GeV: where the asymmetry of e⁺e⁻ → μ⁺μ⁻ changes its sign, as 2E."""

CUSTOMERS = 50
"""Interdeparture times in a unit of the queue."""


def poisson(theta: Mapping[str, float], n: int, rng: np.random.Generator) -> Floats:
    """Counts of mean exp(log_rate), shape (n, 1)."""
    return rng.poisson(np.exp(theta["log_rate"]), (n, 1)).astype(float)


def linear(theta: Mapping[str, float], n: int, rng: np.random.Generator) -> Floats:
    """x = Rz in five dimensions, shape (n, 5).

    z₀ ~ N(α, 1), z₁ ~ N(β, 3), z₂ ~ ½N(−2, 1) + ½N(2, 0.5), z₃ ~ Exp(3), z₄ ~ Exp(0.5), the
    second number of N a standard deviation and that of Exp a rate.
    """
    left = rng.random(n) < 0.5
    mixed = np.where(left, rng.normal(-2, 1, n), rng.normal(2, 0.5, n))
    z = [
        rng.normal(theta["alpha"], 1, n),
        rng.normal(theta["beta"], WIDTH_1, n),
        mixed,
        rng.exponential(1 / 3, n),
        rng.exponential(2, n),
    ]
    x: Floats = np.stack(z, 1) @ ROTATION.T
    return x


def asymmetry(energy: Floats | float, coupling: Floats | float) -> Floats:
    """c of e⁺e⁻ → μ⁺μ⁻: all that data tell of the beam's energy E (GeV) and the coupling G."""
    return np.asarray(2 * np.tanh((2 * np.asarray(energy) - Z_BOSON) / 9) * coupling)


def cosines(c: float, n: int, rng: np.random.Generator) -> Floats:
    """n draws from 1 + x² + c x where that is positive on [−1, 1], by rejection, shape (n, 1)."""
    kept: list[Floats] = []
    while sum(map(len, kept)) < n:
        x = rng.uniform(-1, 1, 2 * n + 16)
        kept.append(x[rng.uniform(0, 2 + abs(c), len(x)) < 1 + x**2 + c * x])
    return np.concatenate(kept)[:n, None]


def muons(theta: Mapping[str, float], n: int, rng: np.random.Generator) -> Floats:
    """cos A of e⁺e⁻ → μ⁺μ⁻, by rejection from the uniform, shape (n, 1).

    Its density is ∝ 1 + x² + c x on [−1, 1], which needs |c| ≤ 2.

    Raises:
        ValueError: an E and a G for which that is no density.
    """
    c = float(asymmetry(theta["E"], theta["G"]))
    if abs(c) > 2:
        raise ValueError(f"1 + x² + c x is no density for c = {c:.4g}, which must be in [-2, 2]")
    return cosines(c, n, rng)


def queue(theta: Mapping[str, float], n: int, rng: np.random.Generator) -> Floats:
    """Interdeparture times of the first 50 customers of an M/G/1 queue, shape (n, 50), minutes.

    Service times are uniform on [shortest, shortest + spread], arrivals a Poisson process of rate
    `arrivals` a minute. It has no likelihood in closed form.
    """
    shape = (n, CUSTOMERS)
    service = theta["shortest"] + theta["spread"] * rng.random(shape)
    arrival = np.cumsum(rng.exponential(1 / theta["arrivals"], shape), 1)
    gaps, left = np.empty(shape), np.zeros(n)
    for k in range(CUSTOMERS):
        leaves = np.maximum(arrival[:, k], left) + service[:, k]
        gaps[:, k], left = leaves - left, leaves
    return gaps


def queue_summary(x: Floats) -> Floats:
    """log of five quantiles of each row of x (n, 50), shape (n, 5): 0, 25, 50, 75 and 100 %."""
    return np.log(np.quantile(x, [0, 0.25, 0.5, 0.75, 1], axis=1)).T
