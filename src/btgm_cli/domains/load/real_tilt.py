"""The exact tilt of real aggregates: what the data themselves hold at a β, beside any model.

Ten of a hundred households in one of fifty weeks make some 10¹⁴ curves. Their tilt by a criterion
is a distribution over these choices, which tempered SMC follows as it does in a latent space.
"""

from __future__ import annotations

import torch
from torch import Tensor

from btgm_cli.core.contracts import Criterion
from btgm_cli.domains.load.weekly import Aggregates
from btgm_cli.truth.moves import MEMORY, ParticleCriterion
from btgm_cli.truth.smc import TemperedSMC

MOST_EXCHANGES = 60
CHUNK = 1000
"""Curves at once: each gathers the loads of all its households."""


class Exchanges:
    """Moves of the choice of households and week: `moves.Moves`.

    One household is exchanged for another, then all are taken in another week. Both proposals are
    symmetric.
    """

    gradients = 0

    def __init__(self, aggregates: Aggregates) -> None:
        self._rows = aggregates.rows
        # An aggregate of a week with n households has probability 1 / (n (n − 1) …), in order.
        present = (self._rows >= 0).sum(1, keepdim=True).double()
        self._log_prior = -(present - torch.arange(aggregates.households)).log().sum(1)

    def __call__(
        self,
        beta: float,
        z: Tensor,
        f: Tensor,
        evaluate: ParticleCriterion,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Choices z (n, 1 + households) and f (n,) after the moves at β."""
        start = z
        for _ in range(MOST_EXCHANGES):
            for propose in (self._another_household, self._another_week):
                proposal, possible = propose(z, generator)
                safe = torch.where(possible[:, None], proposal, z)
                f_new = evaluate(safe)
                rise = beta * (f_new - f) + self._log_prior[safe[:, 0]] - self._log_prior[z[:, 0]]
                uniform = torch.rand(f.shape, generator=generator, dtype=f.dtype)
                accepted = possible & (uniform.log() < rise)
                z = torch.where(accepted[:, None], proposal, z)
                f = torch.where(accepted, f_new, f)
            if (z == start).double().mean() < MEMORY:
                break
        return z, f

    def _another_household(self, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Another household in one place, and whether it has that week and is not yet in."""
        n, width = z.shape
        place = torch.randint(1, width, (n, 1), generator=generator)
        new = torch.randint(self._rows.shape[1], (n, 1), generator=generator)
        possible = (z[:, 1:] != new).all(1) & (self._rows[z[:, :1], new] >= 0).squeeze(1)
        return z.scatter(1, place, new), possible

    def _another_week(self, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Another week, and whether all the households have it."""
        week = torch.randint(len(self._rows), (len(z), 1), generator=generator)
        possible = (self._rows[week, z[:, 1:]] >= 0).all(1)
        return torch.cat([week, z[:, 1:]], 1), possible


def real_tilt(
    aggregates: Aggregates, criterion: Criterion, generator: torch.Generator, particles: int = 500
) -> TemperedSMC:
    """The tilts of real aggregates by a criterion of their curves.

    Args:
        aggregates: what p draws from; its particles are choices of week and households.
        criterion: f(x) of curves x (n, points), kW.
        generator: of everything random.
        particles: in each of the eight populations.
    """

    def f(chosen: Tensor) -> Tensor:
        parts = chosen.split(CHUNK)
        with torch.no_grad():
            return torch.cat([criterion(aggregates.curves(part)) for part in parts])

    return TemperedSMC(aggregates, f, Exchanges(aggregates), generator, particles=particles)
