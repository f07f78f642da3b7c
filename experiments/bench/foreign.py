"""Samplers of other people's on the tilt in latent space: `pip install 'btgm[bench]'`.

Both are given z ~ N(0, I) as the prior and βf as the log likelihood, so that their evidence is
Z(β) and their posterior the tilt. They go by their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import norm  # type: ignore[attr-defined]
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.seeds import derived_seed
from btgm_cli.tilt.estimates import effective_sample_size

Likelihood = Callable[[np.ndarray], np.ndarray]
"""βf of latent draws: (n, D) to (n,)."""


@dataclass(frozen=True)
class Weighted:
    """Draws of the tilt with weights.

    Args:
        f: criterion on them, shape (n,), float64.
        log_weight: up to a constant, shape (n,).
        log_z: log Z(β), nats.
        evals: of f, spent in all.
    """

    f: Tensor
    log_weight: Tensor
    log_z: float
    evals: int

    @property
    def mean(self) -> float:
        """E f of the tilt."""
        return float((torch.softmax(self.log_weight, 0) * self.f).sum().item())

    @property
    def effective(self) -> float:
        """Kish's number; draws that a chain has left in common places count as independent."""
        return effective_sample_size(self.log_weight)


Sampler = Callable[[LatentCriterion, float, int, int], Weighted]
"""Draws of the tilt of f̂ at β, this many effective ones asked for, with this seed."""


def nautilus(latent: LatentCriterion, beta: float, n: int, seed: int) -> Weighted:
    """Importance nested sampling with nets (Lange 2023), in the unit cube: z = Φ⁻¹(u)."""
    from nautilus import Sampler as Nautilus  # noqa: PLC0415

    sampler = Nautilus(
        ndtri,
        _likelihood(latent, beta),
        n_dim=latent.model.latent_dim,
        vectorized=True,
        pass_dict=False,
        seed=derived_seed(seed, "nautilus"),
    )
    sampler.run(n_eff=n)
    _, log_weight, log_l = sampler.posterior()
    f = torch.from_numpy(log_l) / beta
    return Weighted(f, torch.from_numpy(log_weight), float(sampler.log_z), int(sampler.n_like))


def pocomc(latent: LatentCriterion, beta: float, n: int, seed: int) -> Weighted:
    """Preconditioned Monte Carlo (Karamanis et al. 2022): SMC whose moves a flow straightens."""
    from pocomc import Prior  # noqa: PLC0415
    from pocomc import Sampler as Pocomc  # noqa: PLC0415

    with _global_state():
        sampler = Pocomc(
            Prior([norm()] * latent.model.latent_dim),
            _likelihood(latent, beta),
            vectorize=True,
            pytorch_threads=torch.get_num_threads(),
            random_state=derived_seed(seed, "pocomc") % 2**32,
        )
        sampler.run(n_total=n, progress=False)
        _, weight, log_l, _ = sampler.posterior()
    f = torch.from_numpy(log_l).double() / beta
    log_weight = torch.from_numpy(weight).double().log()
    return Weighted(f, log_weight, float(sampler.evidence()[0]), int(sampler.calls))


SAMPLERS: dict[str, Sampler] = {"nautilus": nautilus, "pocomc": pocomc}
"""By the modules that they come from, and the methods that they are."""


def is_installed(name: str) -> bool:
    """Is there a module of this name?"""
    return find_spec(name) is not None


def _likelihood(latent: LatentCriterion, beta: float) -> Likelihood:
    def values(z: np.ndarray) -> np.ndarray:
        f = evaluate(latent, torch.from_numpy(np.ascontiguousarray(z)).float())
        return (beta * f.double()).numpy()

    return values


@contextmanager
def _global_state() -> Iterator[None]:
    """What draws from the global generators of NumPy and torch leaves them as they were."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
