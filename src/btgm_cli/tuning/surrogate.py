"""Learning f before the flow does: s(z) is fitted to what has been paid for, and stands for f̂.

A training on f̂ itself decodes every draw of every step. Instead s, the network of the learned
acceptance, is fitted to draws of p, which the reference has paid for; the flow follows s, which
decodes nothing and has a gradient even where f̂ has none; then f̂ is asked on draws of the tilt by
s, and s is fitted again. Whatever is asked once serves every later β.

s is no more than a guide: every figure of q̂ is measured with f̂ itself.
"""

from __future__ import annotations

import math

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

BORDER_SHARE = 0.8
"""Of what is asked, chosen where s is steep and its networks differ: at the border of a class it
is soon a nat off. So p·exp(βs) is 0.117 nats from a classifier's tilt at β = 1 in 32 dimensions,
0.183 without."""


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
) -> list[Pairs]:
    """n draws with their f̂, without repeats: those at borders, then those of the tilt by s.

    They are chosen among draws of the mixture m by the weight p e^{βs} / m (Efraimidis & Spirakis
    2006), at borders times |∇s| and the spread of the networks whose mean s is.
    """
    blocks = [
        weighted(acceptance, mixture, min(BLOCK, OFFERED * n - done), generator)
        for done in range(0, OFFERED * n, BLOCK)
    ]
    z = torch.cat([offered.z for offered, _ in blocks])
    log_weight = torch.cat([log_weight for _, log_weight in blocks])
    of_tilt = _chosen(log_weight, n - round(BORDER_SHARE * n), generator)
    log_weight += torch.cat([_doubt(acceptance, part) for part in z.split(BLOCK)]).log()
    log_weight[of_tilt] = -math.inf
    at_border = _chosen(log_weight, n - len(of_tilt), generator)
    return [(z[rows], evaluate(f, z[rows])) for rows in (at_border, of_tilt) if len(rows)]


def _chosen(log_weight: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n rows by their weights (n,), none twice."""
    uniform = torch.rand(
        log_weight.shape, generator=generator, device=log_weight.device, dtype=torch.double
    )
    return (log_weight - (-uniform.log()).log()).topk(n).indices


def _doubt(acceptance: Acceptance, z: Tensor) -> Tensor:
    """|∇s| times the spread of the networks of s, at z (n, D), shape (n,), float64."""
    with torch.enable_grad():
        z = z.detach().requires_grad_(True)
        each = acceptance.each(z)
        (slope,) = torch.autograd.grad(each.mean(0).sum(), z)
    doubt: Tensor = slope.norm(dim=-1).double() * each.detach().double().std(0)
    return doubt.clamp(min=1e-30)  # nowhere left out


def state_of(parts: list[Pairs]) -> State:
    """Pairs as a state to be kept; empty if there are none."""
    if not parts:
        return {}
    z, f = joined(parts)
    return {"z": z.detach().cpu().clone(), "f": f.detach().cpu().clone()}
