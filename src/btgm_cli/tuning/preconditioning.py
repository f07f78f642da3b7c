"""Where a training begins if the tilt is far narrower than p: a normal there, some times as wide.

A step of Adam is a length, whatever the tilt's width: where that is a thousandth of p's, a flow
that follows f from p down to it is thrown about by steps wider than its target, and some trainings
lose it. So before a training follows f, adaptive importance sampling (Cappé et al. 2004; Cornuet
et al. 2012) looks for the tilt by its mean and covariance alone, from p upwards, each proposal a
Student t with those of the last weighted draws. Where it finds one narrow direction at least, the
flow's layers act in coordinates in which the tilt is as wide as a quarter of p.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.tilt.bisection import bisect
from btgm_cli.tilt.estimates import effective_sample_size
from btgm_cli.tuned.flows import Flow

NARROW = 0.1
"""Of p's width, in the narrowest direction; of it a step at a rate of 0.005 is a twentieth."""

WIDER = 4.0
"""Than the tilt is the normal that a flow begins with. From within, reverse KL leaves thin tails
out: of the queue's posterior, with its edge, draws of that width had one in fifteen effective."""

DRAWS = 1000
"""Of each proposal."""

LEAST_SHARE, TOO_FEW = 0.3, 0.05
"""Of these, effective for the tilt on the way that comes next; and for none, as in wide spaces."""

MOST_PROPOSALS, MOST_STALLS = 20, 3
"""The posteriors of the shipped simulators take 6 to 15; that go on from the same share of β in a
row, two there."""

DEGREES = 4
"""Of freedom of the proposals; normal ones starve where a tilt is curved or heavy-tailed."""

RIDGE = 1e-12
"""On a covariance: so narrow a direction is one that float32 cannot tell draws apart in."""


@dataclass(frozen=True)
class Pilot:
    """What was found of a tilt.

    Args:
        center: its mean, shape (D,).
        factor: lower triangular, shape (D, D); its covariance is `factor` times its transpose.
        reached: are these the tilt's own, and not those of one on the way to it?
        f_evals: criterion evaluations.
    """

    center: Tensor
    factor: Tensor
    reached: bool
    f_evals: int

    @property
    def is_narrow(self) -> bool:
        """Is there a direction in which flows need it?"""
        return bool(torch.linalg.svdvals(self.factor).min() < NARROW)


@dataclass(frozen=True)
class Start:
    """Where a training begins.

    Args:
        placed: at the tilt itself, not at the last one?
        anew: has the flow forgotten what it was?
        f_evals: criterion evaluations spent on it.
    """

    placed: bool = False
    anew: bool = False
    f_evals: int = 0


class Preconditioner:
    """Places a flow before each training.

    Args:
        flow: untrained; placed in place.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow, self._untrained = flow, flow.snapshot()

    def place(self, f: LatentCriterion, beta: float, generator: torch.Generator) -> Start:
        """Put the flow where the tilt is, if that is narrow or an earlier one was.

        A flow that was placed before keeps the shape that it has learned, in the new place; one
        that was not begins anew, for the pilot says all of it but the shape.
        """
        found = pilot(f, beta, generator)
        anew = not self._flow.is_placed
        if not found.reached or (anew and not found.is_narrow):
            return Start(f_evals=found.f_evals)
        if anew:
            self._flow.restore(self._untrained)
        self._flow.place(found.center, WIDER * found.factor)
        return Start(placed=True, anew=anew, f_evals=found.f_evals)


def pilot(f: LatentCriterion, beta: float, generator: torch.Generator) -> Pilot:
    """Mean and covariance of the tilt, by proposals that follow it up from p.

    Args:
        f: the latent criterion f̂, with its model.
        beta: the tilt.
        generator: of the draws.
    """
    device, dim = generator.device, f.model.latent_dim
    center = torch.zeros(dim, dtype=torch.double, device=device)
    factor, share, reached = torch.eye(dim, dtype=torch.double, device=device), 0.0, False
    fewest = max(TOO_FEW, dim / DRAWS)  # fewer than D draws have no covariance
    f_evals = stalls = 0
    while not reached and stalls < MOST_STALLS and f_evals < MOST_PROPOSALS * DRAWS:
        away, log_t = _student(DRAWS, dim, generator)
        z = (center + away @ factor.T).float()
        values = evaluate(f, z).double()
        f_evals += len(values)
        if not torch.isfinite(values).all():
            break
        weights = _Weights(f.model.prior_log_prob(z).double() - log_t, beta * values)
        further = weights.furthest(share, fewest)
        if further is None:
            break
        center, factor = _moments(z.double(), torch.softmax(weights.at(further), 0))
        stalls = stalls + 1 if further == share else 0
        reached, share = share == further == 1.0, further
    return Pilot(center.float(), factor.float(), reached, f_evals)


def price_of_pilot(kl: float) -> int:
    """Evaluations that a pilot takes, some, by the tilt's KL from p, nats.

    Posteriors of 5.5, 5.5, 6.2 and 8.8 nats took 6, 13, 9 and 8 proposals, what is near p two.
    """
    return DRAWS * min(2 + round(max(kl, 0.0)), MOST_PROPOSALS)


@dataclass(frozen=True)
class _Weights:
    """Log weights of draws for tilts on the way, nats, shape (n,): `base` + share × `tilt`."""

    base: Tensor
    tilt: Tensor

    def at(self, share: float) -> Tensor:
        return self.base + share * self.tilt

    def effective(self, share: float) -> float:
        return effective_sample_size(self.at(share)) / len(self.base)

    def furthest(self, start: float, fewest: float) -> float | None:
        """The largest share of β for which draws suffice, or again the last; None: too few do."""

        def enough(share: float) -> bool:
            return self.effective(share) >= LEAST_SHARE

        if enough(1.0):
            return 1.0
        if enough(start):
            return bisect(enough, start, 1.0, 50)[0]
        return start if self.effective(start) >= fewest else None


def _student(n: int, dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """n draws (n, D) of a Student t, float64, with their log density but for a constant."""

    def normal(columns: int) -> Tensor:
        return torch.randn(
            n, columns, generator=generator, device=generator.device, dtype=torch.double
        )

    away = normal(dim) * (DEGREES / normal(DEGREES).square().sum(-1, keepdim=True)).sqrt()
    log_t = -0.5 * (DEGREES + dim) * torch.log1p(away.square().sum(-1) / DEGREES)
    return away, log_t


def _moments(z: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and the factor (D, D) of the covariance of draws z (n, D) with weights w (n,)."""
    center = w @ z
    away = z - center
    covariance = (w[:, None] * away).T @ away
    covariance.diagonal().add_(RIDGE)
    return center, torch.linalg.cholesky(covariance)
