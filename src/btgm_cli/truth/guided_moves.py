"""Moves that go far for one evaluation of f, led by what has been learned of it.

Where f is rough, moves that do not know it are short, and particles remember. So s(z) is fitted to
all values of f that the particles have paid for; many moves under p·exp(βs), which cost no f, make
one proposal, and f decides on it. The tilt by f stays as it is, whatever s is (Liu 2001, surrogate
transition; Christen & Fox 2005): a bad s is refused, not believed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.results import Particles
from btgm_cli.truth.moves import (
    MEMORY,
    WANTED_ACCEPTANCE,
    Chain,
    CrankNicolson,
    FittedNormal,
    ParticleCriterion,
    adapted,
    coins,
    memory,
)
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.regression import Pairs, Pool, fit

PLAIN = 3
"""Moves without s come first: often they are enough, and they find what s does not know."""

MOST = 5
"""Proposals at one rung before going on although the particles remember."""

INNER, INNER_MEMORY = 60, 0.05
"""Moves under s behind each proposal, at most; fewer where they have forgotten by then."""

STEPS, PARTICLES_A_STEP, FIRST = 500, 16, 2
"""Steps of each fit, at most; one for so many particles; the first fit takes twice as many."""


class GuidedMoves:
    """Crank–Nicolson moves, and where they do not suffice, far ones led by s.

    Args:
        model: the frozen generator, whose latent space this is.
        seen: draws of p with their f that s may learn from; None where the particles are all
            there is.
    """

    gradients = 0

    def __init__(self, model: GenerativeModel, seen: Particles | None = None) -> None:
        self._model = model
        self._plain = CrankNicolson(model, PLAIN)
        self._pool = None if seen is None else Pool(_finite(seen.z, seen.f))
        self._guide: Acceptance | None = None
        self._step = 0.5

    def __call__(
        self,
        beta: float,
        z: Tensor,
        f: Tensor,
        evaluate: ParticleCriterion,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Particles z (n, D) and f (n,) after the moves at β."""
        pool = self._pool = self._pool or Pool(_finite(z, f))

        def asked(z: Tensor) -> Tensor:
            f = evaluate(z)
            pool.add(_finite(z, f))
            return f

        # Where modes lie apart z is never forgotten; what s can help with is told by f.
        f_start = f
        z, f = self._plain(beta, z, f, asked, generator)
        if memory(f_start, f) < MEMORY:
            return z, f
        guide, fitted = self._learned(pool, beta, len(z), generator), FittedNormal.of(z)
        for _ in range(MOST):
            z, f = self._far(guide, beta, fitted, z, f, asked, generator)
            if memory(f_start, f) < MEMORY:
                break
        return z, f

    def _learned(self, pool: Pool, beta: float, n: int, generator: torch.Generator) -> Acceptance:
        """The network s as it is now, fitted to all that has been asked."""
        steps = max(1, min(STEPS, n // PARTICLES_A_STEP))
        if self._guide is None:
            z = pool.prior[0]
            self._guide = Acceptance(z.shape[-1], members=1).to(z.device)
            steps *= FIRST
        fit(self._guide, pool, beta, steps, generator)
        return self._guide

    def _far(
        self,
        guide: Acceptance,
        beta: float,
        fitted: FittedNormal,
        z: Tensor,
        f: Tensor,
        evaluate: ParticleCriterion,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """One proposal, of many moves under s, and f's decision on it."""
        with torch.no_grad():
            s = guide.predict(z).double()
            proposal, s_new = self._wander(guide, beta, fitted, z, s, generator)
        f_new = evaluate(proposal)
        log_ratio = beta * ((f_new - s_new) - (f - s))
        accepted = coins(log_ratio, f.dtype, generator) & torch.isfinite(f_new)
        return torch.where(accepted[:, None], proposal, z), torch.where(accepted, f_new, f)

    def _wander(
        self,
        guide: Acceptance,
        beta: float,
        fitted: FittedNormal,
        z: Tensor,
        s: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """z (n, D) and s (n,) after moves that leave p·exp(βs) as it is."""

        def learned(z: Tensor) -> Tensor:
            return guide.predict(z).double()

        chain, shares = Chain(self._model, fitted, beta, z, s), []
        for number in range(1, INNER + 1):
            shares.append(chain.move(self._step, learned, generator))
            if number % 10 == 0 and memory(z, chain.z) < INNER_MEMORY:
                break
        # Between proposals only: within one, moves of one size are reversible as a whole.
        excess = sum(shares) / len(shares) - WANTED_ACCEPTANCE
        self._step = adapted(self._step, 2 * excess)
        return chain.z, chain.f


def _finite(z: Tensor, f: Tensor) -> Pairs:
    """The pairs that a network can learn from: those whose f is a number."""
    usable = torch.isfinite(f)
    return z[usable], f[usable].to(z)
