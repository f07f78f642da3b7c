"""What the exact tilt is: in closed form, by importance sampling from p, or by tempered SMC.

The first that holds at a β is taken, and every figure says which it was and how far it errs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor

from btgm_cli.core.contracts import KnowsTilts, ReferenceSource
from btgm_cli.core.errors import BtgmError
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import Paid, Particles, Reference
from btgm_cli.core.seeds import derived_generator
from btgm_cli.tilt.bisection import bisect
from btgm_cli.tilt.estimates import importance_reference, systematic
from btgm_cli.truth.gradient_moves import WIDE, GradientMoves, has_cheap_gradient
from btgm_cli.truth.guided_moves import GuidedMoves
from btgm_cli.truth.moves import Moves
from btgm_cli.truth.smc import POPULATIONS, TemperedSMC

LARGEST_K = 0.5
"""Above, weights have no variance, and their spread is no error. Under f = z²/2 at β = 0.8, by
20,000 draws of p, 20 of 60 repeats pass a limit of 0.7, and of their errors of log Z one is within
two of its own; no repeat passes this one."""

STRONGEST = 1000.0
"""β times the standard deviation of f under p beyond which a tilt only splits hairs."""

STEP = 1.2
"""Factor of β while a KL is looked for; small, since an SMC has to climb as far."""


@dataclass(frozen=True)
class PriorDraws:
    """Pareto-smoothed importance sampling from draws of p: the paper's theory curve, mended.

    Args:
        z: draws of p, shape (n, D).
        f: criterion on them, shape (n,).
    """

    z: Tensor
    f: Tensor
    _known: dict[float, Reference] = field(default_factory=dict, repr=False, compare=False)

    @property
    def f_evals(self) -> int:
        """Criterion evaluations spent."""
        return self.f.numel()

    @property
    def unusable(self) -> float:
        """Share of the draws whose f is NaN or infinite."""
        return (~torch.isfinite(self.f)).double().mean().item()

    def at(self, beta: float) -> Reference:
        """The estimate at β (Eqs. 29–31), with its error and whether to believe it."""
        if beta not in self._known:  # smoothing sorts all draws
            self._known[beta] = importance_reference(beta, self.f)
        return self._known[beta]

    def shown(self) -> PriorDraws:
        """The first half of the draws, which q̂ may learn from."""
        half = self.f.numel() // 2
        return PriorDraws(self.z[:half], self.f[:half])

    def held_out(self) -> PriorDraws:
        """The second half, which judges it.

        A model that remembers where f was high is denser there than anywhere else.
        """
        half = self.f.numel() // 2
        return PriorDraws(self.z[half:], self.f[half:])

    def particles(self, beta: float, n: int, generator: torch.Generator) -> Particles:
        """Draws of p resampled by their weights; where few are effective, they repeat."""
        log_w = torch.where(torch.isfinite(self.f), beta * self.f.double(), -math.inf)
        weights = torch.softmax(log_w, 0)
        chosen = systematic(weights, n, generator)
        return Particles(self.z[chosen], self.f[chosen].double())


class Estimated:
    """Importance sampling from p where it holds, tempered SMC beyond.

    Args:
        f: the latent criterion f̂, with its model.
        n: draws of p.
        n_particles: of the tempered SMC, in eight populations.
        seed: of everything random.
        device: where the draws are made.
        start: draws of p with their f that have been paid for already, in place of n new ones.
        decoded: where x of the draws of p is kept, for other criteria of the model.
    """

    def __init__(
        self,
        f: LatentCriterion,
        n: int,
        n_particles: int,
        seed: int,
        device: torch.device | str = "cpu",
        start: Particles | None = None,
        decoded: Paid | None = None,
    ) -> None:
        self._f, self._seed, self._device = f, seed, device
        self._n_particles = n_particles
        self._paid = start is not None
        if start is None:
            z = f.model.sample_prior(n, derived_generator(seed, "reference", device=device))
            start = Particles(z, evaluate(f.sharing(decoded), z))
        self.prior = PriorDraws(start.z, start.f)

    @cached_property
    def smc(self) -> TemperedSMC:
        """The SMC ladder, begun when it is first asked for."""
        generator = derived_generator(self._seed, "smc", device=self._device)
        particles = math.ceil(self._n_particles / POPULATIONS)
        start = Particles(self.prior.z, self.prior.f)
        return latent_smc(self._f, generator, particles, start)

    @property
    def has_climbed(self) -> bool:
        """Has the SMC been asked for?"""
        return "smc" in vars(self)

    @property
    def f_evals(self) -> int:
        """Criterion evaluations spent so far."""
        own = 0 if self._paid else self.prior.f_evals
        if not self.has_climbed:
            return own
        begun_afresh = self.prior.f_evals < self.smc.ladder[0].f.numel()
        return own + self.smc.f_evals - (0 if begun_afresh else self.prior.f_evals)

    def at(self, beta: float) -> Reference:
        """The better of the two at β."""
        cheap = self.prior.at(beta)
        sharp = cheap.reliable and cheap.pareto_k <= LARGEST_K
        if sharp or self.prior.unusable or self.smc.unusable:
            return cheap
        return self.smc.at(beta)

    def particles(self, beta: float, n: int, generator: torch.Generator) -> Particles:
        """From the same source as `at(beta)`, but none that q̂ may have learned from."""
        source = self.prior.held_out() if self.at(beta).method == "psis" else self.smc
        return source.particles(beta, n, generator)


def worth(own: Reference) -> float:
    """How many independent draws the particles of a reference are worth; infinite if exact.

    Of p's draws only those that are held out give particles.
    """
    return own.ess / 2 if own.method == "psis" else own.ess


def follows_gradient(
    f: LatentCriterion, device: torch.device | str = "cpu", wide: int = WIDE
) -> bool:
    """Do moves of an SMC follow f's gradient? Where that is cheap, and the space wide enough."""
    return f.model.latent_dim >= wide and has_cheap_gradient(f, device)


def latent_smc(
    f: LatentCriterion,
    generator: torch.Generator,
    particles: int,
    start: Particles | None = None,
    wide: int = WIDE,
) -> TemperedSMC:
    """The tempered SMC of f̂ in the latent space of its model; arguments as of `TemperedSMC`.

    Its moves follow f's gradient where that is cheap and the space has `wide` dimensions or more.
    """
    follows = follows_gradient(f, generator.device, wide)
    moves: Moves = GradientMoves(f) if follows else GuidedMoves(f.model, start)
    return TemperedSMC(
        f.model, lambda z: evaluate(f, z), moves, generator, particles=particles, start=start
    )


def reference_for(
    f: LatentCriterion,
    n: int,
    n_particles: int,
    seed: int,
    device: torch.device | str = "cpu",
    start: Particles | None = None,
    decoded: Paid | None = None,
) -> ReferenceSource:
    """The best reference for this pair: closed form if known, else `Estimated`."""
    known = None
    if isinstance(f.criterion, KnowsTilts) and not f.is_stochastic:
        known = f.criterion.closed_form(f.model)
    if known is not None:
        return known
    return Estimated(f, n, n_particles, seed, device, start, decoded)


def tilts_at(source: ReferenceSource, kls: Sequence[float]) -> list[Reference]:
    """The tilts with these KLs, nats, rising; β by bisection of its logarithm.

    Where the source passes from importance sampling to SMC its KL jumps, so that what is met may
    be off by its error.

    Raises:
        BtgmError: no tilt has so large a KL.
    """
    spread = math.sqrt(source.at(0.0).var)
    low = high = 0.1 / spread
    found = []
    for kl in kls:
        below = partial(_has_less, source, kl)
        while below(high):
            if high * spread > STRONGEST:
                raise BtgmError(f"no tilt has a KL of {kl} nats")
            low, high = high, STEP * high
        low, high = bisect(below, low, high, 40, middle=_geometric)
        found.append(source.at(high))
    return found


def _has_less(source: ReferenceSource, kl: float, beta: float) -> bool:
    """Is the tilt at β closer to p than this, nats?"""
    return source.at(beta).kl < kl


def _geometric(low: float, high: float) -> float:
    """The geometric mean."""
    return math.sqrt(low * high)
