"""Means, probabilities and tail means at once, as in entropy pooling: a `Strategy`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.contracts import Criterion, Summed
from btgm_cli.core.latent_criterion import evaluate
from btgm_cli.core.results import Status, Verdict
from btgm_cli.core.viewed import Viewed
from btgm_cli.core.views import Sign, View
from btgm_cli.tilt.views import Tilted, Viewpoint, Weighed, settle
from btgm_cli.truth.evaluation import MOST_ROUNDS
from btgm_cli.tuned.defence import LEAST_SHARE, Defended
from btgm_cli.tuning.contradiction import Contradiction
from btgm_cli.tuning.feasibility import Bound
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.settled import ALIKE
from btgm_cli.tuning.sides import contradiction_of
from btgm_cli.tuning.strategy import Row
from btgm_cli.tuning.sums import CONSTANT, SoughtSum
from btgm_cli.tuning.visit import Visits

SURELY = 4.0
"""A view is missed for sure by so many times what is allowed: more draws are not asked for."""

OF = 10_000
"""Draws of which so many are effective, as a run tells it."""


@dataclass(frozen=True)
class Seen:
    """Draws as the views see them.

    Args:
        fixed: by the noise behind f̂, of which the tilt is.
        fresh: values of each view's criterion with fresh noise, shape (n, 1, k); those of
            `fixed` where the decoder has none.
    """

    fixed: Viewpoint
    fresh: Tensor

    def by(self, views: Sequence[View], tilted: Tilted) -> Weighed:
        """The draws of a tilt, with fresh noise."""
        return Weighed(self.fresh.double(), self.fixed.by(views, tilted).log_weights)

    @classmethod
    def joined(cls, parts: Sequence[Seen]) -> Seen:
        """All of them, as draws of one distribution."""
        values = torch.cat([part.fixed.values for part in parts])
        log_weights = torch.cat([part.fixed.log_weights for part in parts])
        return cls(Viewpoint(values, log_weights), torch.cat([part.fresh for part in parts]))


class ViewsTogether(SoughtSum):
    """Views on the terms of a sum, met by the exact tilt and told of the tuned model as well.

    Draws of the tuned model, and a share of p's, are weighted to the exact tilt, with independent
    draws for each look: those that λ was solved by do not judge it. Where the model stays, λ is
    solved by all draws of it. With a stochastic decoder they are judged with fresh noise.

    Args:
        problem: with a sum as criterion, whose terms the views name.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.views = problem.target.asked
        names = list(self._criterion.terms)
        self._columns = [names.index(view.of) for view in self.views]
        self.tilted = self._taught = Tilted.none(self.views)
        self._looks, self._trainings = 1, 0

    def tuned(self, visits: Visits) -> Weighed:
        """Draws of the tuned model itself, as it stands."""
        n = min(len(self._seen.fresh), 4 * self._problem.settings.n_eval)
        generator = visits.generator("views of the tuned model")
        z, _ = visits.tuned.draw(n, generator)
        self._tuned = Weighed(self._fresh(z, generator).double(), torch.zeros(n).double())
        self.f_evals += n
        return self._tuned

    @property
    def prior(self) -> Weighed:
        """Draws of p."""
        return self._of_p.by(self.views, Tilted.none(self.views))

    @property
    def exact(self) -> Weighed:
        """Draws of the exact tilt by the multipliers of the last visit."""
        return self._seen.by(self.views, self.tilted)

    def grants(self, j: int, view: View, draws: Weighed) -> bool:
        """Do they have what view j asks, within the tolerance or two standard errors?"""
        value, error = draws.told(j, view)
        allowed = self._allowed(view, error)
        short, excess = view.low - value, value - view.high
        if self.tilted.multipliers[j]:  # it costs something: no more than is asked
            short, excess = view.value - value, value - view.value
        return max(short, excess) <= allowed

    def _allowed(self, view: View, error: float) -> float:
        return max(self._problem.settings.tolerance * abs(view.value), 2 * error)

    def _see_prior(self, z: Tensor) -> None:
        self._parts = evaluate(self._remembering(self._problem.f).values, z).cpu()
        values = self._parts[..., self._columns]
        viewpoint = Viewpoint(values, torch.zeros(len(z)).double())
        self._seen = self._of_p = self._of_model = Seen(viewpoint, values)

    def _look(self, visits: Visits) -> None:
        proposals = Defended(visits.tuned, LEAST_SHARE)
        n = self._problem.settings.n_eval
        trainings = sum(point.effort.steps > 0 for point in visits.points)
        self._looks += 1
        parts: list[Seen] = []
        while len(parts) < MOST_ROUNDS:
            generator = visits.generator("views", self._looks, len(parts))
            z, log_q = proposals.draw(n, generator)
            log_p = self._problem.f.model.prior_log_prob(z).double()
            log_m = proposals.log_density(z, log_q.double(), log_p)
            values = evaluate(self._remembering(self._problem.f).values, z).cpu()
            fixed = Viewpoint(values[..., self._columns], (log_p - log_m).cpu())
            fresh = self._fresh(z, generator) if self._problem.f.is_stochastic else fixed.values
            parts.append(Seen(fixed, fresh))
            self.f_evals += n
            self._seen = Seen.joined(parts)
            if self._is_clear(self.exact):
                break
        if trainings == self._trainings:
            self._of_model = Seen.joined([self._of_model, self._seen])
        else:
            self._of_model, self._taught = self._seen, self.tilted
        self._trainings = trainings

    def _fresh(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """Of shape (n, 1, k)."""
        f = self._problem.f
        if not f.is_stochastic:
            return evaluate(self._remembering(f).values, z).cpu()[..., self._columns]
        values = evaluate(lambda part: f.fresh_values(part, generator), z).cpu()
        return values[:, None, self._columns]

    def _is_clear(self, draws: Weighed) -> bool:
        """Are all views known to within the tolerance, or is one surely missed?"""
        errors = []
        for j, view in enumerate(self.views):
            value, error = draws.told(j, view)
            if abs(value - view.value) > SURELY * self._allowed(view, error):
                return True
            errors.append(2 * error <= self._allowed(view, 0.0))
        return all(errors)

    def _on_prior(self, criterion: Criterion) -> Tensor:
        parts = self._parts.double()
        if isinstance(criterion, Viewed):
            return criterion.of_parts(parts).mean(-1)
        assert isinstance(criterion, Summed)
        weights = list(criterion.weights.values())
        return parts.mean(1) @ torch.tensor(weights, dtype=torch.double)

    def _is_met(self) -> bool:
        return all(self.grants(j, view, self.exact) for j, view in enumerate(self.views))

    def _contradiction(self) -> Contradiction | None:
        values = self._of_p.fixed.values
        if self._seen is not self._of_p:
            values = torch.cat([values, self._seen.fixed.values])
        under_p = [self.prior.told(j, view)[0] for j, view in enumerate(self.views)]
        return contradiction_of(self.views, values, under_p, self._most)

    def _most(
        self,
        views: Sequence[View],
        weights: tuple[float, ...],
        cuts: tuple[float, ...],
        asked: float,
    ) -> Bound | None:
        """The largest mean of a sum of features, where that is less than what is asked."""
        criterion = Viewed(self._criterion, views, (*weights, *cuts))
        total, alone = self._on_prior(criterion), 0.0
        for view, weight, cut in zip(views, weights, cuts, strict=True):
            part = self._on_prior(Viewed(self._criterion, [view], (abs(weight), cut)))
            alone += part.std().item()
        if not alone:  # beyond all draws of p, which cannot begin a climb
            return None
        if total.std() < CONSTANT * alone:  # they cancel: no tilt moves their sum
            return Bound(total.mean().item(), 0.0)
        return self._most_of(criterion, (*weights, *cuts), asked)

    def _step(self) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
        known = self._of_model.fixed
        self.tilted = settle(known, self.views, self.tilted)
        self._from_taught = known.apart(self.views, self._taught, self.tilted)
        spread = known.features(self.views, self.tilted.cuts).std(0)
        beta = (self.tilted.multipliers.abs() * spread).sum().item()
        if not beta:
            return 0.0, (), ()
        weights = (self.tilted.multipliers / beta).tolist()
        return beta, tuple(weights), tuple(self.tilted.cuts.tolist())

    def _stays(self) -> bool:
        return self._from_taught <= ALIKE

    def _weighted(self, weights: tuple[float, ...], cuts: tuple[float, ...]) -> Criterion:
        return Viewed(self._criterion, self.views, (*weights, *cuts))

    def _state(self) -> Row:
        row: Row = {}
        for j, view in enumerate(self.views):
            value, error = self.exact.told(j, view)
            row |= {
                f"asked_{view.name}": view.value,
                f"multiplier_{view.name}": self.tilted.multipliers[j].item(),
                f"cut_{view.name}": self.tilted.cuts[j].item(),
                f"exact_{view.name}": value,
                f"exact_{view.name}_se": error,
            }
        return row | {"effective_share": self.exact.effective}

    def _judged(self, verdict: Verdict) -> Verdict:
        own = enumerate(self.views)
        missed = [view.text for j, view in own if not self.grants(j, view, self._tuned)]
        if verdict.status is not Status.OK or not missed:
            return verdict
        reason = f"draws of the tuned model itself miss {', '.join(missed)}"
        return Verdict(Status.OK_CORRECTED, f"{reason}, corrected ones do not")

    def _told(self) -> str:
        told = [
            f"{view.name} {self.exact.told(j, view)[0]:.4g} {_WORDS[view.sign]} {view.value:.4g}"
            for j, view in enumerate(self.views)
        ]
        effective = f"{OF * self.exact.effective:,.0f} of {OF:,} draws effective"
        return f"{', '.join(told)}; {effective}"


_WORDS = {Sign.EQUAL: "for", Sign.AT_LEAST: "for at least", Sign.AT_MOST: "for at most"}
