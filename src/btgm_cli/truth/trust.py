"""May these draws stand for the exact tilt? One rule for whoever hands draws on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.latent_criterion import LatentCriterion, draw_x
from btgm_cli.core.results import Status
from btgm_cli.truth.tally import Tally
from btgm_cli.tuned.correction import LARGEST_SHARE, Correct, Corrector, Pilot
from btgm_cli.tuned.model import TunedModel

MOST_DRAWS = 100
"""Proposals to one that rejection keeps; where it takes more, q̂ is too far off to draw by."""

ERRORS = 4.0
"""The mean of f may be off by so many standard errors."""

BEYOND = {
    Status.INFEASIBLE: "what it asked for has no tilt to draw from",
    Status.UNRELIABLE_CRITERION: "its tilt is that of an f that is off",
}
"""Runs of which no draws stand for anything, and why."""

LOST = (Status.MODE_DROPPED, Status.UNRELIABLE_REFERENCE)
"""What a correction cannot mend: nobody knows what is missing, or it is known to be missing."""


def doubt(run: Status, row: Status, correct: Correct, pilot: Pilot) -> str:
    """Why draws may not stand for the exact tilt, in a line; empty where they may.

    Args:
        run: the verdict on the whole run, which may have met no β at all.
        row: the verdict on the β of the draws.
        correct: how the draws are corrected.
        pilot: what the weights are like.
    """
    if run in BEYOND:
        return f"the run's verdict is {run}: {BEYOND[run]}"
    if correct is Correct.NONE:
        remedy = "; correct=resample" if row is Status.OK_CORRECTED else ""
        return "" if row is Status.OK else f"the run's verdict at this β is {row}, not ok{remedy}"
    if row in LOST:
        return f"the run's verdict at this β is {row}: what is lost cannot be corrected"
    if not pilot.reliable:
        return "the weights' Pareto k is too large for the correction to be relied on"
    if correct is Correct.MCMC and not pilot.thinning.suffices:
        kept = f"{pilot.thinning.remembered:.0%}"
        return f"{kept} of the chains have not moved in {pilot.thinning.steps} steps"
    return too_dear(correct, pilot)


def too_dear(correct: Correct, pilot: Pilot) -> str:
    """Why rejection would hardly ever keep a draw; empty where it does."""
    if correct is Correct.REJECTION and not pilot.draws_each <= MOST_DRAWS:
        return f"rejection would take more than {MOST_DRAWS} draws of this tuned model for one"
    return ""


def amiss(tally: Tally, mean: float, mean_se: float) -> str:
    """Why corrected draws, now that they are there, may not stand for the exact tilt.

    Weights that nobody has met yet no pilot tells of: what they do shows in what is handed out.

    Args:
        tally: of these draws.
        mean: E f of the exact tilt, as well as it is known.
        mean_se: its standard error.

    Returns:
        A line; empty where nothing is amiss.
    """
    if tally.most > 1 and tally.largest_share > LARGEST_SHARE:
        return f"one draw came {tally.most} times, {tally.largest_share:.1%} of all"
    return off(tally.mean, tally.mean_se, mean, mean_se)


def off(found: float, found_se: float, mean: float, mean_se: float) -> str:
    """Why draws of such an E f are none of a tilt with that one; empty where they may be."""
    if abs(found - mean) > ERRORS * math.hypot(found_se, mean_se):
        return (
            f"E f of these draws is {found:.4g} ± {found_se:.2g}, "
            f"of the exact tilt {mean:.4g} ± {mean_se:.2g}"
        )
    return ""


class TiltDraws:
    """A `core.contracts.DrawSource`: a run's last β.

    The draws are the tuned model's as they are where its verdict is ok, else corrected by
    rejection, which repeats none.

    Args:
        tuned: q̂.
        f: the latent criterion f̂.
        beta: the tilt.
        run: the verdict on the whole run.
        row: the verdict on this β.
        generator: of everything random.
    """

    def __init__(
        self,
        tuned: TunedModel,
        f: LatentCriterion,
        beta: float,
        run: Status,
        row: Status,
        generator: torch.Generator,
    ) -> None:
        self.tuned, self.f, self.beta = tuned, f, beta
        self.run, self.row, self.generator = run, row, generator
        self.correct = Correct.NONE if row is Status.OK else Correct.REJECTION

    @property
    def model(self) -> GenerativeModel:
        """The frozen generator whose x they are."""
        return self.f.model

    @property
    def doubt(self) -> str:
        """Why no draws here may stand for the exact tilt; empty where they may."""
        return doubt(self.run, self.row, self.correct, self._corrector.pilot)

    def tilted(self, n: int) -> Tensor:
        """Draw x of the tilt, shape (n, *X)."""
        return _first((block.x for block in self._corrector.draws(n)), n)

    def prior(self, n: int) -> Tensor:
        """Draw x of p, shape (n, *X)."""
        model = self.f.model
        return draw_x(model, model.sample_prior(n, self.generator), self.generator)

    @cached_property
    def _corrector(self) -> Corrector:
        """Made, and its pilot drawn, for whoever asks for draws first."""
        return Corrector(self.tuned, self.f, self.beta, self.correct, self.generator)


def _first(blocks: Iterator[Tensor], n: int) -> Tensor:
    parts: list[Tensor] = []
    while sum(map(len, parts)) < n:
        parts.append(next(blocks))
    return torch.cat(parts)[:n]
