"""Free energies of a tuned model's tilt, and why not to believe them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.tilt.estimates import MIN_ESS
from btgm_cli.tilt.free_energy import Difference, acceptance_ratio, difference
from btgm_cli.truth.trust import ERRORS
from btgm_cli.tuned.correction import Corrector
from btgm_cli.tuned.model import BLOCK, TunedModel

Coordinate = Callable[[Tensor], Tensor]
"""x of shape (n, *X) to numbers of shape (n,)."""


@dataclass(frozen=True)
class Weighed:
    """Weighted draws of a tilt: a coordinate of x, f and log weights, each of shape (n,)."""

    along: Tensor
    f: Tensor
    log_weights: Tensor

    def mean_f(self) -> tuple[float, float]:
        """E f of the tilt by the weights, and its standard error."""
        w = torch.softmax(self.log_weights, 0) * len(self.f)
        mean = (w * self.f).mean()
        error = (w * (self.f - mean)).std() / math.sqrt(len(self.f))
        return mean.item(), error.item()


def weighed(corrector: Corrector, along: Coordinate, n: int) -> Weighed:
    """n weighted draws, in the memory of a block of x.

    Args:
        corrector: what draws, and weights.
        along: the coordinate.
        n: draws.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    missing = n
    for block in corrector.weighted():
        draws = block.at(torch.arange(min(len(block), missing), device=block.f.device))
        parts.append((along(draws.x).double(), draws.f.double(), draws.log_weight.double()))
        missing -= len(draws)
        if not missing:
            break
    return Weighed(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))


def too_few(found: Difference) -> str:
    """Why a difference rests on too few draws; empty where it does not."""
    if found.effective < MIN_ESS:
        return f"only {found.effective:.0f} effective draws lie on one side of the split"
    return ""


def contradicted(draws: Weighed, reference: Tensor, independent: float, *splits: float) -> str:
    """Why weighted draws may have lost a part of the tilt; empty where nothing tells of it.

    k̂ does not see a lost basin; draws of the reference, which owe nothing to the model, may. The
    shares above a few values of the coordinate must agree: above the splits, and the reference's
    deciles.

    Args:
        draws: by the model's weights.
        reference: the coordinate on draws of the exact tilt, shape (m,).
        independent: how many independent draws these are worth.
        splits: of the coordinate.
    """
    if not len(reference) or not independent > 0:
        return ""
    deciles = torch.quantile(reference, torch.linspace(0.1, 0.9, 9).to(reference))
    for split in (*splits, *deciles.tolist()):
        found = difference(draws.along, draws.log_weights, split)
        share = (reference > split).double().mean().item()
        centre = (share * independent + 2) / (independent + 4)  # no error of 0 where all lie above
        error = math.sqrt(centre * (1 - centre) / independent)
        of_found = found.error * found.above * (1 - found.above) if found.effective else 0.0
        if abs(share - found.above) > ERRORS * math.hypot(error, of_found):
            there = f"{share:.1%} of the reference's draws lie above {split:.4g}"
            return f"{there}, {found.above:.1%} by the weights"
    return ""


@dataclass(frozen=True)
class Works:
    """log p e^{βf} − log q̂, nats, on q̂'s draws (n,) and on the exact tilt's (m,).

    Their distributions cross at log Z (Crooks).
    """

    of_tuned: Tensor
    of_tilt: Tensor

    def log_z(self, independent: float, constant_se: float) -> tuple[float, float]:
        """log Z by Bennett's acceptance ratio and its standard error, nats.

        Args:
            independent: how many independent draws those of the tilt are worth.
            constant_se: error of log q̂'s own constant, nats.
        """
        value, error = acceptance_ratio(-self.of_tuned, self.of_tilt, independent)
        return -value, math.hypot(error, constant_se)


def works(
    tuned: TunedModel,
    f: LatentCriterion,
    beta: float,
    exact: Tensor,
    n: int,
    generator: torch.Generator,
) -> Works:
    """What Bennett's ratio needs between q̂, whose log Z is 0, and the tilt.

    Args:
        tuned: q̂.
        f: the latent criterion f̂.
        beta: the tilt.
        exact: draws z of the tilt, shape (m, D).
        n: draws of q̂.
        generator: of these.
    """

    def work(z: Tensor, log_q: Tensor) -> Tensor:
        log_p = tuned.model.prior_log_prob(z).double()
        return (log_p + beta * evaluate(f, z).double() - log_q.double()).cpu()

    sizes = [BLOCK] * (n // BLOCK) + [n % BLOCK] * (n % BLOCK > 0)
    own = [work(*tuned.draw(size, generator)) for size in sizes]
    return Works(torch.cat(own), work(exact, tuned.log_prob(exact)))
