"""Draws of the exact tilt by tempered SMC: as many as one has particles, or several of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from btgm_cli.core.latent_criterion import CHUNK, LatentCriterion, draw_x
from btgm_cli.truth.exact_draws import About, Found, Generators, Part, of_tilt
from btgm_cli.truth.price import SMC_PARTICLES
from btgm_cli.truth.references import latent_smc
from btgm_cli.truth.smc import POPULATIONS, TemperedSMC, why_unreliable
from btgm_cli.tuned.correction import joined


class Climbed:
    """Particles of as many tempered SMC as it takes, each with populations of its own.

    They are not independent: particles have ancestors in common, and each SMC errs as a whole. How
    many independent draws they are worth is told by the spread of the populations, for the mean
    of f; for anything else each draw says which population it is from, by a number that those of
    several SMC share.

    Args:
        f: the latent criterion f̂.
        beta: the tilt.
        most: particles of one SMC, at most.
        generators: of one SMC, by part and number.
        climbed: an SMC that has been paid for, which is the first.
    """

    def __init__(
        self,
        f: LatentCriterion,
        beta: float,
        most: int,
        generators: Generators,
        climbed: TemperedSMC | None = None,
    ) -> None:
        self._f, self._beta, self._most = f, beta, most
        self._generators, self._climbed = generators, climbed

    def part(self, index: int, size: int) -> Part:
        """Draw a part, with `effective` draws among what is told of it."""
        runs = -(-size // self._most)
        each = [self._run(index, run, size // runs + (run < size % runs)) for run in range(runs)]
        about = {
            "effective": sum(part.about["effective"] for part in each),
            "log_z": _log_mean([part.about["log_z"] for part in each]),
            "log_z_se": max(part.about["log_z_se"] for part in each),
            "reliable": min(part.about["reliable"] for part in each),
        }
        draws = joined([part.draws for part in each])
        populations = torch.cat([part.population for part in each if part.population is not None])
        return Part(draws, sum(part.f_evals for part in each), about, populations)

    def _run(self, index: int, run: int, n: int) -> Part:
        """N draws of one SMC, in random order."""
        generator = self._generators(index, run)
        smc, paid = self._smc(index, run, n, generator)
        tilt = smc.at(self._beta)
        chosen, population = smc.drawn(self._beta, n, generator)
        order = torch.randperm(n, generator=generator, device=generator.device)
        blocks = []
        for rows in order.split(CHUNK):
            z, f = chosen.z[rows], chosen.f[rows]
            x = draw_x(self._f.model, z, generator)
            blocks.append(of_tilt(self._f, tilt, x, z, f))
        worth = _subsampled(tilt.ess, n, smc.pool(self._beta)[0].f.numel())
        about = {
            "effective": worth,
            "log_z": tilt.log_z,
            "log_z_se": tilt.log_z_se,
            "reliable": float(tilt.reliable),
        }
        return Part(joined(blocks), smc.f_evals - paid, about, population[order])

    def recall(self, abouts: Sequence[About]) -> None:
        """No part depends on another."""

    def outdated(self, abouts: Sequence[About]) -> int | None:
        """No part is ever drawn again."""
        return None

    def again(self, before: Part, index: int) -> Part:
        """As it is."""
        return before

    def found(self, abouts: Sequence[About], f_evals: int, n: int) -> Found:
        """What n draws in all parts are worth, after so many evaluations for them."""
        worth = sum(about["effective"] for about in abouts)
        error = max(about["log_z_se"] for about in abouts)
        trouble = "" if all(about["reliable"] for about in abouts) else why_unreliable(error)
        text = f"worth {worth:,.0f} independent draws, by the spread of the populations"
        figures = {"log_z": _log_mean([about["log_z"] for about in abouts]), "log_z_se": error}
        return Found(worth, figures, text, trouble)

    def _smc(
        self, index: int, run: int, n: int, generator: torch.Generator
    ) -> tuple[TemperedSMC, int]:
        """An SMC for n draws, and how many of its evaluations have been paid for."""
        if index == run == 0 and self._climbed is not None:
            return self._climbed, self._climbed.f_evals
        each = max(SMC_PARTICLES, math.ceil(n / POPULATIONS))
        smc = latent_smc(self._f, generator, each)
        smc.keep_only(self._beta)
        return smc, 0


def _log_mean(log_z: Sequence[float]) -> float:
    """Of the SMCs' estimates of Z, each of which is unbiased, nats."""
    highest = max(log_z)
    return highest + math.log(sum(math.exp(each - highest) for each in log_z) / len(log_z))


def _subsampled(worth: float, n: int, of: int) -> float:
    """What n of so many particles are worth in independent draws, if all are worth `worth`."""
    return min(n, 1 / (1 / max(worth, 1e-300) + 1 / n - 1 / max(of, n)))
