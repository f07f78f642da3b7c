"""Several means at once: E fᵢ ≥ cᵢ for the terms of a sum whose weights are sought."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.contracts import Criterion, Summed
from btgm_cli.core.latent_criterion import evaluate
from btgm_cli.tilt.multipliers import solve
from btgm_cli.tuning.contradiction import Contradiction, find_contradiction
from btgm_cli.tuning.feasibility import Bound
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.strategy import Row
from btgm_cli.tuning.sums import CONSTANT, SoughtSum
from btgm_cli.tuning.visit import Visits


@dataclass(frozen=True)
class Reached:
    """The terms on a model's own draws: f of shape (n, m), float64."""

    f: Tensor

    @property
    def mean(self) -> Tensor:
        """E fᵢ, shape (m,)."""
        return self.f.mean(0)

    @property
    def error(self) -> Tensor:
        """Standard errors, shape (m,)."""
        return self.f.std(0) / math.sqrt(len(self.f))


class SeveralTargets(SoughtSum):
    """Means of all terms of a sum, each at least so large; they are those of the tuned models.

    Args:
        problem: with a sum as criterion and a wish for each of its terms.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        wishes = problem.target.at_least
        assert wishes is not None
        self._wishes = {name: float(wishes[name]) for name in self._criterion.terms}
        self._goal = torch.tensor(list(self._wishes.values()), dtype=torch.double)
        self._multipliers = torch.zeros_like(self._goal)

    def _see_prior(self, z: Tensor) -> None:
        self._prior = self._reached = Reached(self._terms(z))

    def _look(self, visits: Visits) -> None:
        n = self._problem.settings.n_eval
        z, _ = visits.tuned.draw(n, visits.generator("several", len(visits.points)))
        self.f_evals += n
        self._reached = Reached(self._terms(z))

    def _terms(self, z: Tensor) -> Tensor:
        """Of shape (n, m), float64."""
        return evaluate(self._remembering(self._problem.f).terms, z).double().cpu()

    def _on_prior(self, criterion: Criterion) -> Tensor:
        assert isinstance(criterion, Summed)
        weights = list(criterion.weights.values())
        return self._prior.f @ torch.tensor(weights, dtype=torch.double)

    def _is_met(self) -> bool:
        distance = (self._goal - self._prior.mean).abs()
        tolerance = self._problem.settings.tolerance * distance
        allowed = torch.maximum(tolerance, 2 * self._reached.error)
        excess = self._reached.mean - self._goal
        idle = self._multipliers == 0
        return bool(((excess >= -allowed) & (idle | (excess <= allowed))).all())

    def _contradiction(self) -> Contradiction | None:
        seen = self._prior.f
        if self._reached is not self._prior:
            seen = torch.cat([seen, self._reached.f])
        return find_contradiction(seen, self._wishes, self._most)

    def _most(self, weights: tuple[float, ...], asked: float) -> Bound | None:
        """The largest mean of a sum, where that is less than what is asked."""
        criterion = self._weighted(weights, ())
        total = self._on_prior(criterion)
        deviations = self._prior.f.std(0) @ torch.tensor(weights, dtype=torch.double)
        if total.std() < CONSTANT * deviations:  # the terms cancel: no tilt moves their sum
            return Bound(total.mean().item(), 0.0)
        return self._most_of(criterion, weights, asked)

    def _step(self) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
        self._multipliers = solve(self._reached.f, self._goal, self._multipliers)
        if not self._multipliers.any():
            return 0.0, (), ()
        beta = (self._multipliers * self._prior.f.std(0)).sum().item()
        return beta, tuple((self._multipliers / beta).tolist()), ()

    def _weighted(self, weights: tuple[float, ...], cuts: tuple[float, ...]) -> Criterion:
        return self._criterion.weighted(weights)

    def _state(self) -> Row:
        row: Row = {}
        reached = self._reached
        columns = zip(
            self._wishes.items(), self._multipliers, reached.mean, reached.error, strict=True
        )
        for (name, c), multiplier, mean, error in columns:
            row |= {
                f"at_least_{name}": c,
                f"multiplier_{name}": multiplier.item(),
                f"mean_{name}": mean.item(),
                f"mean_{name}_se": error.item(),
            }
        return row

    def _told(self) -> str:
        row = self._row
        return ", ".join(
            f"E {name} {row[f'mean_{name}']:.4g} for at least {c:.4g} "
            f"(multiplier {row[f'multiplier_{name}']:.3g})"
            for name, c in self._wishes.items()
        )
