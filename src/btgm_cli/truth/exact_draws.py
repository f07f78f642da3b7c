"""Draws of the exact tilt without a tuned model: what every way to them has in common.

They come in parts, each from a generator of its own, so that any number of them needs the memory
of one and a part that is lost can be drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Reference
from btgm_cli.tuned.correction import Draws

About = Mapping[str, float]
"""Figures of a part."""

Generators = Callable[..., torch.Generator]
"""A generator for each purpose."""


@dataclass(frozen=True)
class Part:
    """Draws of one part, and what is to be known of them.

    Args:
        draws: their log q̂ is the log density of the tilt itself, their log weight 0.
        f_evals: evaluations of f behind them.
        about: figures of the part, by name.
        population: where the draws are not independent, the number of the independent population
            that each is from, shape (n,).
    """

    draws: Draws
    f_evals: int
    about: About
    population: Tensor | None = None


@dataclass(frozen=True)
class Found:
    """What all parts together are worth.

    Args:
        effective: independent draws that they are worth.
        figures: what else is to be known, by name.
        text: the same in a line.
        trouble: why they cannot be relied on; empty where they can.
    """

    effective: float
    figures: dict[str, float]
    text: str
    trouble: str


class ExactDraws(Protocol):
    """A way to draws of the exact tilt, in parts; some may have to be drawn again."""

    def part(self, index: int, size: int) -> Part:
        """Draw a part for the first time."""
        ...

    def recall(self, abouts: Sequence[About]) -> None:
        """Go on where parts that are there have ended."""
        ...

    def outdated(self, abouts: Sequence[About]) -> int | None:
        """The part to draw again first, if there is any."""
        ...

    def again(self, before: Part, index: int) -> Part:
        """The same part, as it has to be now."""
        ...

    def found(self, abouts: Sequence[About], f_evals: int, n: int) -> Found:
        """What n draws in all parts are worth, after so many evaluations for them."""
        ...


def of_tilt(f: LatentCriterion, tilt: Reference, x: Tensor, z: Tensor, values: Tensor) -> Draws:
    """Draws of a tilt with their log density under it, nats."""
    log_p = f.model.prior_log_prob(z).double()
    log_q = log_p + tilt.beta * values.double() - tilt.log_z
    return Draws(x, z, log_q.to(z), torch.zeros_like(log_q), values.to(z))
