"""The No-U-Turn sampler (Hoffman & Gelman 2014) on the tilt in latent space, by Pyro."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.seeds import derived_generator, derived_seed

DEEPEST = 6
"""At most 2⁶ − 1 gradients a draw; bounds the time where the tilt is stiff."""


@dataclass(frozen=True)
class Chain:
    """One chain after its warm-up.

    Args:
        f: criterion on its draws, shape (n,).
        effective: how many independent draws its mean of f is worth.
        gradients: of log p + βf, spent in all, warm-up included.
    """

    f: Tensor
    effective: float
    gradients: int


def nuts(latent: LatentCriterion, beta: float, warm_up: int, n: int, seed: int) -> Chain:
    """A chain of n draws of the tilt at β, started from a draw of p."""
    model = latent.model
    gradients = 0

    def potential(at: dict[str, Tensor]) -> Tensor:
        nonlocal gradients
        gradients += 1
        z = at["z"]
        energy: Tensor = -(model.prior_log_prob(z) + beta * latent(z)).sum()
        return energy

    z = model.sample_prior(1, derived_generator(seed, "nuts", "start"))
    kernel = NUTS(potential_fn=potential, max_tree_depth=DEEPEST)
    with torch.random.fork_rng(devices=[]):  # Pyro draws from the global generator
        torch.manual_seed(derived_seed(seed, "nuts"))
        chain = MCMC(kernel, n, warm_up, initial_params={"z": z}, disable_progbar=True)
        chain.run()
    f = evaluate(latent, chain.get_samples()["z"].flatten(0, -2)).double()
    return Chain(f, float(effective_sample_size(f[None]).item()), gradients)
