"""Draws of the exact tilt by rejection from p, under the largest f that has been met."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from btgm_cli.core.latent_criterion import CHUNK, LatentCriterion, draw_x
from btgm_cli.core.results import Particles, Reference
from btgm_cli.truth.exact_draws import About, Found, Generators, Part, of_tilt
from btgm_cli.tuned.correction import LARGEST_SHARE, Draws, joined


class Rejection:
    """Draws of p, kept with probability e^{β (f − c)}, c the largest f that has been met.

    Nobody knows a larger bound on f. Where a draw exceeds c it is the bound from then on; draws
    that were kept under the old one are thinned by e^{β (c_old − c)}, which leaves each with the
    probability that it has under the new one. What was kept is then exact but for the part of the
    tilt where f > c, which no draw has met.

    Args:
        f: the latent criterion f̂.
        tilt: the exact tilt, as well as it is known.
        first: draws of p with f that have been paid for; they are the first proposals.
        parts: how many there will be.
        generators: of a part, by its number and round.

    Attributes:
        best: c, the largest f so far.
    """

    def __init__(
        self,
        f: LatentCriterion,
        tilt: Reference,
        first: Particles,
        parts: int,
        generators: Generators,
    ) -> None:
        self._f, self._tilt, self._first = f, tilt, first
        self._each = len(first.f) // parts
        self._generators = generators
        self.best = first.f.max().item()

    def part(self, index: int, size: int) -> Part:
        """Draw a part for the first time."""
        generator = self._generators(index, 0)
        chosen = slice(index * self._each, (index + 1) * self._each)
        z, f = self._first.z[chosen], self._first.f[chosen]
        keep = self._accepted(f, generator).nonzero().squeeze(-1)[:size]
        blocks = [
            self._draws(draw_x(self._f.model, z[rows], generator), z[rows], f[rows])
            for rows in keep.split(CHUNK)
            if len(rows)
        ]
        return self._filled(blocks, size, generator, 0, 0)

    def again(self, before: Part, index: int) -> Part:
        """The same part under a bound that has been raised since it was drawn."""
        rounds = int(before.about["rounds"]) + 1
        generator = self._generators(index, rounds)
        fall = self._tilt.beta * (before.about["best"] - self.best)
        kept = _thinned(before.draws, fall, generator)
        return self._filled([kept], len(before.draws), generator, before.f_evals, rounds)

    def recall(self, abouts: Sequence[About]) -> None:
        """Go on where parts that are there have ended."""
        self.best = max([self.best, *(about["best"] for about in abouts)])

    def outdated(self, abouts: Sequence[About]) -> int | None:
        """The part to draw again first, if any was drawn under a lower bound."""
        low = [k for k, about in enumerate(abouts) if about["best"] < self.best]
        return min(low, key=lambda k: (abouts[k]["rounds"], k)) if low else None

    def found(self, abouts: Sequence[About], f_evals: int, n: int) -> Found:
        """What n draws in all parts are worth, after so many evaluations for them."""
        proposals = f_evals + len(abouts) * self._each
        beyond = self._beyond(proposals, n)
        text = (
            f"the bound on f is {self.best:.4g}, the largest of {proposals:,} draws of p; "
            f"about {beyond:.1g} of the tilt may lie beyond"
        )
        figures = {"largest_f": self.best, "prior_draws": proposals, "share_beyond": beyond}
        return Found(float(n), figures, text, text if beyond > LARGEST_SHARE else "")

    def _beyond(self, proposals: int, n: int) -> float:
        """About how much of the tilt lies where f exceeds all that was met: a share.

        As much as the largest of the draws of p has, that being as likely as any to come next: one
        over the number of draws that so many proposals leave.
        """
        log_price = self._tilt.beta * self.best - self._tilt.log_z  # NaN where log Z is unknown
        kept = proposals * math.exp(-log_price) if log_price >= 0 else 0.0
        return 1 / max(kept, n)

    def _filled(
        self,
        blocks: list[Draws],
        size: int,
        generator: torch.Generator,
        f_evals: int,
        rounds: int,
    ) -> Part:
        """A part, once enough draws of p have been kept beside those in `blocks`."""
        while sum(map(len, blocks)) < size:
            z = self._f.model.sample_prior(CHUNK, generator)
            f, x = self._f.with_draws(z, generator)
            f_evals += CHUNK
            before = self.best
            keep = self._accepted(f, generator)
            if self.best > before:
                fall = self._tilt.beta * (before - self.best)
                blocks = [_thinned(block, fall, generator) for block in blocks]
            blocks.append(self._draws(x, z, f).at(keep))
        draws = joined(blocks).at(torch.arange(size))
        return Part(draws, f_evals, {"best": self.best, "rounds": float(rounds)})

    def _accepted(self, f: Tensor, generator: torch.Generator) -> Tensor:
        """Which of these are kept, once the bound is no less than any of them."""
        if len(f):
            self.best = max(self.best, f.max().item())
        return _uniform(f, generator).log() < self._tilt.beta * (f.double() - self.best)

    def _draws(self, x: Tensor, z: Tensor, f: Tensor) -> Draws:
        return of_tilt(self._f, self._tilt, x, z, f)


def _thinned(draws: Draws, log_share: float, generator: torch.Generator) -> Draws:
    """Each draw kept with this log probability."""
    return draws.at(_uniform(draws.f, generator).log() < log_share)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=torch.double)
