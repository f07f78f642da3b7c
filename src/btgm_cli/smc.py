"""Tempered sequential Monte Carlo in latent space: the tilt where importance sampling is blind.

Particles move from p to q_β along a ladder of tilts, each close enough to the last that
reweighting is safe (Del Moral, Doucet & Jasra 2006). Between them they are shaken by
preconditioned Crank–Nicolson moves (Cotter et al. 2013), which need no gradient. A move leaves a
Gaussian invariant; that of the particles themselves (Rudolf & Sprungk 2018) in place of the
prior's keeps the steps long where the tilt is narrow and far from p. Several populations run side
by side; they share the ladder and the moves' settings and nothing else, so that their spread is
the error of the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core import BtgmError, GenerativeModel, Particles, Reference
from btgm_cli.tilt import systematic

LatentCriterion = Callable[[Tensor], Tensor]
"""f̂: (n, D) to (n,)."""

POPULATIONS = 8
"""Independent repeats; enough to tell an error from."""

LARGEST_LOG_Z_SE = 0.1
"""nats; an SMC reference with a larger error of log Z carries no verdict."""

RUNG_ESS = 0.8
"""Share of the particles that stays effective from one tilt of the ladder to the next."""

MEMORY = 0.2
"""Moves go on until the particles' mean correlation with where they started is below this."""

WANTED_ACCEPTANCE = 0.25
MOST_RUNGS = 500


@dataclass(frozen=True)
class Rung:
    """The populations at one tilt of the ladder.

    Args:
        beta: the tilt.
        z: particles, shape (R, N, D): R populations of N, equally weighted.
        f: criterion on them, shape (R, N).
        log_z: log Z(β) of each population, shape (R,), nats.
        f_evals: criterion evaluations spent up to here.
    """

    beta: float
    z: Tensor
    f: Tensor
    log_z: Tensor
    f_evals: int


@dataclass(frozen=True)
class Gaussian:
    """N(mean, L Lᵀ): what the moves leave invariant."""

    mean: Tensor
    cholesky: Tensor

    @classmethod
    def of(cls, z: Tensor) -> Gaussian:
        """The Gaussian with the mean and covariance of particles z (n, D)."""
        wide = z.double()
        covariance = torch.cov(wide.T)
        jitter = 1e-6 * covariance.diagonal().mean() * torch.eye(z.shape[-1]).to(wide)
        return cls(wide.mean(0), torch.linalg.cholesky(covariance + jitter))

    def crank_nicolson(self, z: Tensor, noise: Tensor, step: float) -> Tensor:
        """A move of this step size from z (n, D), given standard normal noise (n, D)."""
        away = (z - self.mean) * math.sqrt(1 - step**2) + step * noise.double() @ self.cholesky.T
        return (self.mean + away).to(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density up to a constant, shape (n,)."""
        white = torch.linalg.solve_triangular(
            self.cholesky, (z.double() - self.mean).T, upper=False
        )
        density: Tensor = -0.5 * white.square().sum(0)
        return density


class TemperedSMC:
    """The tilts of p by f̂ as a function of β, from a ladder that grows as far as it is asked.

    The ladder depends on the generator alone, not on which β are asked for, so that the same seed
    gives the same figures in any order of questions.

    Args:
        model: the frozen generator.
        f: the latent criterion f̂(z), without gradient.
        generator: of everything random.
        populations: R, independent repeats; their spread gives the errors.
        particles: N in each.
        start: draws of p with their f, if there are any at hand: more than R N of them let the
            populations see more of p before the first resampling.
        most_moves: pCN moves at one rung before going on although the particles remember.

    `unusable` is the share of the first particles whose f is NaN or infinite; where it is not
    zero, ask no further.
    """

    def __init__(
        self,
        model: GenerativeModel,
        f: LatentCriterion,
        generator: torch.Generator,
        populations: int = POPULATIONS,
        particles: int = 1000,
        start: Particles | None = None,
        most_moves: int = 15,
    ) -> None:
        self._model, self._f, self._generator = model, f, generator
        self._most_moves = most_moves
        self._step = 0.9
        self._particles = particles
        self.f_evals = 0
        if start is None or len(start.f) < populations * particles:
            z = model.sample_prior(populations * particles, generator)
            start = Particles(z, self._evaluate(z))
        else:
            self.f_evals = len(start.f)
        self.unusable = (~torch.isfinite(start.f)).double().mean().item()
        each = len(start.f) // populations
        z = start.z[: populations * each].view(populations, each, model.latent_dim)
        first = start.f[: populations * each].view(populations, each).double()
        self.ladder = [Rung(0.0, z, first, first.new_zeros(populations), self.f_evals)]

    def at(self, beta: float) -> Reference:
        """The tilt at β: moments, KL and log Z in nats, with errors from the populations."""
        rung, log_w = self._reweighted(beta)
        w = torch.softmax(log_w, -1)
        log_z_each = rung.log_z + torch.logsumexp(log_w, -1) - math.log(log_w.shape[-1])
        log_z = torch.logsumexp(log_z_each, 0) - math.log(log_z_each.numel())
        # Each population counts by its estimate of Z: it is these that are unbiased. The errors
        # are by the delta method over populations.
        share = torch.exp(log_z_each - log_z)[:, None]
        mean = (share * w * rung.f).sum(-1).mean()
        residual = rung.f - mean
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
            reliable=log_z_se <= LARGEST_LOG_Z_SE,
        )

    def particles(self, beta: float, n: int, generator: torch.Generator) -> Particles:
        """About q_β: n draws from the populations at β, with f."""
        rung, log_w = self._reweighted(beta)
        # Populations count by their estimate of Z, which is what makes their union consistent.
        log_w = (log_w + rung.log_z[:, None]).flatten()
        chosen = systematic(torch.softmax(log_w, 0), n, generator)
        return Particles(rung.z.flatten(0, 1)[chosen], rung.f.flatten()[chosen])

    def cost(self, beta: float) -> tuple[int, float]:
        """Criterion evaluations up to β, and the independent draws that they are worth there.

        The worth is told by the populations' spread: resampling alone would look far better.
        """
        rung, _ = self._reweighted(beta)
        return rung.f_evals, self.at(beta).ess

    def _reweighted(self, beta: float) -> tuple[Rung, Tensor]:
        """The last rung at or below β, and its particles' log weights at β, shape (R, N)."""
        while self.ladder[-1].beta < beta:
            self._climb()
        rung = max((r for r in self.ladder if r.beta <= beta), key=lambda r: r.beta)
        return rung, (beta - rung.beta) * rung.f

    def _climb(self) -> None:
        """Add a rung: reweight as far as is safe, resample, and move until forgotten."""
        if len(self.ladder) > MOST_RUNGS:
            raise BtgmError(
                f"tempered SMC got no further than β = {self.ladder[-1].beta:.4g} in {MOST_RUNGS} "
                "steps; lower target.betas, target.C_D or target.rho"
            )
        rung = self.ladder[-1]
        # A rung with more particles than the next can afford to lose as many.
        step = _safe_step(rung.f, RUNG_ESS * self._particles / rung.f.shape[-1])
        log_w = step * rung.f
        log_z = rung.log_z + torch.logsumexp(log_w, -1) - math.log(log_w.shape[-1])
        rows = [
            row[systematic(torch.softmax(w, 0), self._particles, self._generator)]
            for row, w in zip(torch.cat([rung.z, rung.f[..., None]], -1), log_w, strict=True)
        ]
        both = torch.stack(rows)
        beta = rung.beta + step
        z, f = self._moved(beta, both[..., :-1].to(rung.z), both[..., -1])
        self.ladder.append(Rung(beta, z, f, log_z, self.f_evals))

    def _moved(self, beta: float, z: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """pCN moves at β until z is nearly uncorrelated with where it started."""
        flat, at = z.flatten(0, 1), f.flatten()
        start, gaussian = flat, Gaussian.of(flat)

        def potential_at(z: Tensor, f: Tensor) -> Tensor:
            return beta * f + self._model.prior_log_prob(z).double() - gaussian.log_prob(z)

        potential = potential_at(flat, at)
        for _ in range(self._most_moves):
            s = self._step
            noise = torch.randn(
                flat.shape, generator=self._generator, device=flat.device, dtype=flat.dtype
            )
            proposal = gaussian.crank_nicolson(flat, noise, s)
            f_new = self._evaluate(proposal)
            potential_new = potential_at(proposal, f_new)
            uniform = torch.rand(
                at.shape, generator=self._generator, device=at.device, dtype=at.dtype
            )
            # A point that f cannot judge is never moved to.
            accepted = (uniform.log() < potential_new - potential) & torch.isfinite(f_new)
            flat = torch.where(accepted[:, None], proposal, flat)
            at = torch.where(accepted, f_new, at)
            potential = torch.where(accepted, potential_new, potential)
            share = accepted.double().mean().item()
            self._step = min(0.999, max(0.01, s * math.exp(share - WANTED_ACCEPTANCE)))
            if _memory(start, flat) < MEMORY:
                break
        return flat.view_as(z), at.view_as(f)

    def _evaluate(self, z: Tensor) -> Tensor:
        self.f_evals += z.shape[0]
        return self._f(z).double()


def _safe_step(f: Tensor, share: float) -> float:
    """The Δβ at which the least effective population keeps this share of its particles."""

    def effective(step: float) -> float:
        log_w = step * f
        log_ess = 2 * torch.logsumexp(log_w, -1) - torch.logsumexp(2 * log_w, -1)
        return log_ess.exp().min().item() / f.shape[-1]

    spread = max(f.std().item(), 1e-300)
    low, high = 0.0, 1.0 / spread
    while effective(high) > share and high * spread < 1e6:
        low, high = high, 2 * high
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if effective(middle) > share else (low, middle)
    return 0.5 * (low + high)


def _memory(start: Tensor, now: Tensor) -> float:
    """Mean correlation between coordinates then and now."""
    a, b = start - start.mean(0), now - now.mean(0)
    return float(((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()).item())


def _spread(values: Tensor) -> float:
    """Standard error of the mean over populations, of influences (R,) or (R, 1)."""
    return float(values.std().item() / math.sqrt(values.numel()))
