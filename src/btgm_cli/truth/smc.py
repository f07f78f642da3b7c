"""Tempered sequential Monte Carlo: the tilt where importance sampling is blind.

Particles move from p to q_β along a ladder of tilts, each close enough to the last that
reweighting is safe (Del Moral, Doucet & Jasra 2006). Between them they are shaken by `moves`.
Several populations run side by side; they share the ladder and the moves' settings and nothing
else, so that their spread is the error of the result.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from btgm_cli.core.results import Particles, Reference
from btgm_cli.tilt.estimates import few_repeats, systematic
from btgm_cli.truth.moves import GRADIENT, Moves, ParticleCriterion, memory
from btgm_cli.truth.rungs import Rung, Weighted
from btgm_cli.truth.stepping import safe_step, tame_step

POPULATIONS = 8
"""Independent repeats; enough to tell an error from."""

LARGEST_MEMORY = 0.5
"""Beyond this the particles of a rung are still those of the last one, and the populations' spread
is no error any more."""

LARGEST_LOG_Z_SE = 0.1
"""nats; an SMC reference with a larger error of log Z carries no verdict."""

RUNG_ESS = 0.8
"""Share of the particles that stays effective from one tilt of the ladder to the next."""

MOST_RUNGS = 500


class Prior(Protocol):
    """What particles start from; a `core.contracts.GenerativeModel` is one."""

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """n draws of p, shape (n, D)."""
        ...


class TemperedSMC:
    """The tilts of p by f̂ as a function of β, from a ladder that grows as far as it is asked.

    The ladder depends on the generator alone, not on which β are asked for, so that the same seed
    gives the same figures in any order of questions.

    Args:
        p: draws from p, such as a frozen generator's prior.
        f: the criterion as a function of a particle, such as f̂(z), without gradient.
        moves: what shakes the particles at a rung and leaves the tilt there as it is.
        generator: of everything random.
        populations: R, independent repeats; their spread gives the errors.
        particles: N in each.
        start: draws of p with their f, if there are any at hand: more than R N of them let the
            populations see more of p before the first resampling.

    `unusable` is the share of the first particles whose f is NaN or infinite; where it is not
    zero, ask no further.
    """

    def __init__(
        self,
        p: Prior,
        f: ParticleCriterion,
        moves: Moves,
        generator: torch.Generator,
        populations: int = POPULATIONS,
        particles: int = 1000,
        start: Particles | None = None,
    ) -> None:
        self._f, self._moves, self._generator = f, moves, generator
        self._particles = particles
        self._asked: list[Particles] = []
        self._valued = self._climbs = 0
        if start is None or len(start.f) < populations * particles:
            z = p.sample_prior(populations * particles, generator)
            start = Particles(z, self._evaluate(z))
        else:
            self._valued = len(start.f)
        self.unusable = (~torch.isfinite(start.f)).double().mean().item()
        each = len(start.f) // populations
        z = start.z[: populations * each].view(populations, each, -1)
        first = start.f[: populations * each].view(populations, each).double()
        self.ladder = [Rung(0.0, z, first, first.new_zeros(populations), self.f_evals)]

    @property
    def f_evals(self) -> int:
        """Criterion evaluations spent so far; a gradient counts as `GRADIENT` of them."""
        return self._valued + GRADIENT * self.gradients

    @property
    def gradients(self) -> int:
        """Gradients of f that the moves have followed so far."""
        return self._moves.gradients

    def at(self, beta: float) -> Reference:
        """The tilt at β: moments, KL and log Z in nats, with errors from the populations.

        Beyond the end of the ladder nothing is known: `log_z_se` is infinite.
        """
        found = self._estimated(beta)
        return found if self._reaches(beta) else _unknown(found)

    def _estimated(self, beta: float) -> Reference:
        around = self._around(beta)
        f, log_w = around.f, around.log_w
        w = torch.softmax(log_w, -1)
        log_z_each = torch.logsumexp(log_w, -1)
        log_z = torch.logsumexp(log_z_each, 0) - math.log(log_z_each.numel())
        # Each population counts by its estimate of Z: it is these that are unbiased. The errors
        # are by the delta method over populations.
        share = torch.exp(log_z_each - log_z)[:, None]
        mean = (share * w * f).sum(-1).mean()
        residual = f - mean
        of_mean = (share * w * residual).sum(-1)
        var = (share * w * residual.square()).sum(-1).mean()
        mean_se, log_z_se = _spread(of_mean), _spread(share)
        # How many independent draws would leave the same error of the mean.
        ess = min(float(log_w.numel()), var.item() / max(mean_se**2, 1e-300))
        return Reference(
            beta=beta,
            mean=mean.item(),
            mean_se=mean_se,
            var=var.item(),
            m3=(share * w * residual.pow(3)).sum(-1).mean().item(),
            kl=(beta * mean - log_z).item() + 0.0,
            kl_se=_spread(beta * of_mean - share.squeeze(-1)),
            log_z=log_z.item(),
            log_z_se=log_z_se,
            method="smc",
            ess=ess,
            pareto_k=-math.inf,
            reliable=log_z_se <= LARGEST_LOG_Z_SE and self.has_mixed(beta),
        )

    def has_mixed(self, beta: float) -> bool:
        """Did the moves make the particles forget where they came from, at every rung to β?"""
        return self._around(beta).top.memory <= LARGEST_MEMORY

    def pool(self, beta: float) -> tuple[Particles, Tensor]:
        """The particles around β, z (R·M, D) and f (R·M,), and their weights of sum 1, (R, M)."""
        around = self._around(beta)
        return Particles(around.z.flatten(0, 1), around.f.flatten()), around.shares

    def particles(self, beta: float, n: int, generator: torch.Generator) -> Particles:
        """About q_β: n draws from the populations at β, with f."""
        return self.drawn(beta, n, generator)[0]

    def drawn(self, beta: float, n: int, generator: torch.Generator) -> tuple[Particles, Tensor]:
        """The same, and the number of the population that each is from, shape (n,)."""
        around = self._around(beta)
        chosen = systematic(around.shares.flatten(), n, generator)
        drawn = Particles(around.z.flatten(0, 1)[chosen], around.f.flatten()[chosen])
        return drawn, chosen // around.f.shape[-1]

    def keep_only(self, beta: float) -> None:
        """Climb to β and keep no more of the ladder than β takes.

        In 256 dimensions the particles of the other rungs are a third of a gigabyte. Afterwards
        no lower tilt can be asked for, and `passed` has next to nothing.
        """
        while self._falls_short(beta):
            self._climb()
            del self.ladder[:-2]
            self._asked.clear()

    def cost(self, beta: float) -> tuple[int, float]:
        """Criterion evaluations up to β, and the independent draws that they are worth there.

        The worth is told by the populations' spread: resampling alone would look far better.
        """
        return self._around(beta).top.f_evals, self.at(beta).ess

    def _around(self, beta: float) -> Weighted:
        """The particles of the rungs below and above β, weighted as draws of their mixture.

        Those from above know the tail that those from below rarely reach (balance heuristic:
        Veach & Guibas 1995). Ones that have not mixed are left out.
        """
        while self._falls_short(beta):
            self._climb()
        number = max(i for i, rung in enumerate(self.ladder) if rung.beta <= beta)
        below, above = self.ladder[number], self.ladder[number + 1 : number + 2]
        between = [rung for rung in above if below.beta < beta and rung.memory <= LARGEST_MEMORY]
        rungs = [below, *between]
        z, f = (torch.cat(parts, 1) for parts in zip(*((r.z, r.f) for r in rungs), strict=True))
        density = torch.stack([rung.log_density(f) for rung in rungs])
        return Weighted(z, f, beta * f - torch.logsumexp(density, 0), rungs[-1])

    def _reaches(self, beta: float) -> bool:
        """Is the ladder, as it stands, long enough for β?"""
        return self.ladder[-1].beta >= beta

    def _falls_short(self, beta: float) -> bool:
        """Is there to be climbed for β, and may there be?"""
        return not self._reaches(beta) and self._climbs < MOST_RUNGS

    def _climb(self) -> None:
        """Add a rung: reweight as far as is safe, resample, and move until forgotten."""
        rung = self.ladder[-1]
        self._climbs += 1
        # A rung with more particles than the next can afford to lose as many.
        step = safe_step(rung.f, RUNG_ESS * self._particles / rung.f.shape[-1])
        if rung.f.shape[-1] > self._particles:
            step = tame_step(rung.f.flatten(), step)
        log_w = step * rung.f
        log_z = rung.log_z + torch.logsumexp(log_w, -1) - math.log(log_w.shape[-1])
        rows = [
            row[systematic(torch.softmax(w, 0), self._particles, self._generator)]
            for row, w in zip(torch.cat([rung.z, rung.f[..., None]], -1), log_w, strict=True)
        ]
        both = torch.stack(rows)
        beta = rung.beta + step
        z, f = both[..., :-1].to(rung.z), both[..., -1]
        z_new, f_new = self._moves(
            beta, z.flatten(0, 1), f.flatten(), self._asked_of_moves, self._generator
        )
        kept = max(rung.memory, memory(f.flatten(), f_new))
        new = Rung(beta, z_new.view_as(z), f_new.view_as(f), log_z, self.f_evals, kept)
        self.ladder.append(new)

    def passed(self) -> Particles:
        """What moves have asked for f and no rung holds: refused proposals and places left since.

        z (n, D) and f (n,), finite. A model that learns from these is judged by the rungs.
        """
        if not self._asked:
            first = self.ladder[0]
            return Particles(first.z[0, :0], first.f[0, :0])
        z = torch.cat([asked.z for asked in self._asked])
        f = torch.cat([asked.f for asked in self._asked])
        held = torch.cat([rung.z[..., 0].flatten() for rung in self.ladder[1:]])
        left = torch.isfinite(f) & ~torch.isin(z[:, 0], held)
        return Particles(z[left], f[left])

    def _evaluate(self, z: Tensor) -> Tensor:
        self._valued += z.shape[0]
        return self._f(z).double()

    def _asked_of_moves(self, z: Tensor) -> Tensor:
        f = self._evaluate(z)
        self._asked.append(Particles(z, f))
        return f


def why_unreliable(log_z_se: float) -> str:
    """Why an SMC with this error of log Z, nats, is not reliable."""
    if log_z_se <= LARGEST_LOG_Z_SE:
        return "the particles of the tempered SMC have not mixed, or too few are effective"
    return f"log Z is known to ± {log_z_se:.2g} nats only"


def _unknown(found: Reference) -> Reference:
    """The same where the ladder has ended before: a guess whose errors nobody knows."""
    return replace(
        found, mean_se=math.nan, kl_se=math.nan, log_z_se=math.inf, ess=0.0, reliable=False
    )


def _spread(values: Tensor) -> float:
    """Standard error of the mean over populations, of influences (R,) or (R, 1).

    Widened, since a few populations know their own spread badly.
    """
    return few_repeats(values.numel()) * float(values.std().item() / math.sqrt(values.numel()))
