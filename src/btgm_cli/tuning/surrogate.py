"""Learning f before the flow does: s(z) is fitted to what has been paid for, and stands for f̂.

A training on f̂ itself decodes every draw of every step. Instead s, the network of the learned
acceptance, is fitted to draws of p, which the reference has paid for; the flow follows s, which
decodes nothing and has a gradient even where f̂ has none; then f̂ is asked on draws of the tilt by
s, and s is fitted again. Whatever is asked once serves every later β.

s is no more than a guide: every figure of q̂ is measured with f̂ itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import State
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.mixture import Mixture
from btgm_cli.tuned.model import BLOCK
from btgm_cli.tuned.regression import Pairs, joined
from btgm_cli.tuning.fitting import weighted

ROUNDS = 2
"""At each β, f̂ is asked so many times, and s and the flow learn from the answers."""

OFFERED = 10
"""Draws of which one is asked, chosen by its weight for the tilt by s."""


class Surrogate:
    """s in place of f̂: for the training of the flow.

    Args:
        model: the frozen generator, for p.
        acceptance: whose network is s.
    """

    def __init__(self, model: GenerativeModel, acceptance: Acceptance) -> None:
        self.model, self.acceptance = model, acceptance

    def __call__(self, z: Tensor) -> Tensor:
        """s(z), shape (n,), differentiable in z."""
        return self.acceptance.predict(z)


def ask(
    acceptance: Acceptance,
    f: LatentCriterion,
    mixture: Mixture,
    n: int,
    generator: torch.Generator,
) -> Pairs:
    """n draws of the tilt by s with their f̂, without repeats.

    They are chosen among draws of the mixture m, by the weight p e^{βs} / m (Efraimidis & Spirakis
    2006).
    """
    blocks = [
        weighted(acceptance, mixture, min(BLOCK, OFFERED * n - done), generator)
        for done in range(0, OFFERED * n, BLOCK)
    ]
    z = torch.cat([offered.z for offered, _ in blocks])
    log_weight = torch.cat([log_weight for _, log_weight in blocks])
    uniform = torch.rand(len(z), generator=generator, device=z.device, dtype=torch.double)
    chosen = (log_weight - (-uniform.log()).log()).topk(n).indices
    return z[chosen], evaluate(f, z[chosen])


def state_of(parts: list[Pairs]) -> State:
    """Pairs as a state to be kept; empty if there are none."""
    if not parts:
        return {}
    z, f = joined(parts)
    return {"z": z.detach().cpu().clone(), "f": f.detach().cpu().clone()}
