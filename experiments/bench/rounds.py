"""One round of refinement after another: what the next one is shown, and what it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from btgm_cli.domains.digits.generator import Digits
from btgm_cli.tuned.correction import Corrector

PLACES = ("first", "second", "third", "fourth")
"""Names of a sum's terms."""


class Shown(Digits):
    """A generator whose prior is a pool of draws z (n, D), such as a tuned model's."""

    def __init__(self, digits: Digits, pool: Tensor) -> None:
        super().__init__(digits.generator, digits.checkpoint_sha256)
        self.pool = pool

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n of the pool's draws, with repeats."""
        return self.pool[torch.randint(len(self.pool), (n,), generator=generator)]


def drawn_by(corrector: Corrector, n: int) -> Tensor:
    """n corrected draws z (n, D)."""
    blocks, missing = [], n
    for block in corrector.draws(n):
        blocks.append(block.z[:missing])
        missing -= len(blocks[-1])
        if not missing:
            break
    return torch.cat(blocks)


def criterion_of(names: Sequence[str], betas: Sequence[float]) -> list[str]:
    """What a run is asked for: f of one discriminator, or the sum of β f of several."""
    if len(names) == 1:
        return ["criterion=discriminator", f"criterion.discriminator={names[0]}"]
    asked = ["criterion=sum"]
    for place, name, beta in zip(PLACES, names, betas, strict=False):
        new = "" if place in PLACES[:2] else "+"
        asked += [
            f"{new}criterion@criterion.terms.{place}=discriminator",
            f"criterion.terms.{place}.discriminator={name}",
            f"{new}criterion.weights.{place}={beta}",
        ]
    return asked
