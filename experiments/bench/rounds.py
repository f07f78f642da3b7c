"""One round of refinement after another: what the next one is shown, and what it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from btgm_cli.domains.digits.discriminator import Discriminator
from btgm_cli.domains.digits.generator import Digits
from btgm_cli.domains.digits.pretraining.discriminator import (
    DiscriminatorSettings,
    DiscriminatorTrainee,
)
from btgm_cli.domains.digits.vae import load_digits
from btgm_cli.tuned.correction import Draws, joined

SHOWN = 20_000
"""Corrected draws of the last round's tilt that the next discriminator learns from."""

STEPS = 2000
"""Of that training."""

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


def first_of(blocks: Iterator[Draws], n: int) -> Draws:
    """The first n draws of a corrector's blocks."""
    taken: list[Draws] = []
    while sum(map(len, taken)) < n:
        taken.append(next(blocks))
    return joined(taken).at(torch.arange(n))


def next_discriminator(
    images: Tensor, model: str, pool: Tensor, steps: int, seed: int
) -> Discriminator:
    """Trained to tell images (n, 1, 28, 28) from what a model makes of a pool of z (m, D)."""
    trainee = DiscriminatorTrainee(
        images,
        Shown(load_digits(model, "model"), pool),
        DiscriminatorSettings(model, steps=steps),
        seed,
        torch.device("cpu"),
    )
    for index in range(steps):
        trainee.step(index)
    return trainee.network


def criterion_of(
    names: Sequence[str], betas: Sequence[float], place: str = "criterion"
) -> list[str]:
    """What a run is asked for: f of one discriminator, or the sum of β f of several.

    Args:
        names: of the discriminators.
        betas: their weights, of which one discriminator needs none.
        place: of the settings: the criterion itself, or a term of it.
    """
    choice = "criterion" if place == "criterion" else f"criterion@{place}"
    if len(names) == 1:
        return [f"{choice}=discriminator", f"{place}.discriminator={names[0]}"]
    asked = [f"{choice}=sum"]
    for term, name, beta in zip(PLACES, names, betas, strict=False):
        new = "" if term in PLACES[:2] else "+"
        asked += [
            f"{new}criterion@{place}.terms.{term}=discriminator",
            f"{place}.terms.{term}.discriminator={name}",
            f"{new}{place}.weights.{term}={beta}",
        ]
    return asked
