"""One β by way of the surrogate: f̂ is asked, s is fitted, the flow follows s; and again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import State
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.mixture import Mixture
from btgm_cli.tuned.regression import BATCH, Pairs, Pool, fit
from btgm_cli.tuning.settings import Tuning
from btgm_cli.tuning.surrogate import ROUNDS, Surrogate, ask, state_of
from btgm_cli.tuning.training import Training, train

FIRST, LATER = 2.0, 0.8
"""Steps of a fit for each step of the flow's training: of the first one, to draws of p, and of the
later ones. Longer fits bring p·exp(βs) up to 0.01 nats nearer on the default path, and a few draws
that weigh as much as hundreds."""

EPOCHS = 4
"""So many times a fit sees each pair of the pool, at least: where much was asked for."""


@dataclass
class Lesson:
    """What is learned at one β; `state_dict` and `load` carry it across a kill.

    Args:
        f: the latent criterion f̂, with its model.
        acceptance: whose network s is fitted; it was calibrated for another β, if at all.
        pool: what was paid for before.
        typical: E f of the exact tilt, as far as the reference knows it.
        training: of the flow, fresh.
        settings: sizes, and the batches of the flow's training.
        generator: one for each purpose.
        paid: what was asked here.
        rounds: how many have begun.
    """

    f: LatentCriterion
    acceptance: Acceptance
    pool: Pool
    typical: float
    training: Training
    settings: Tuning
    generator: Callable[..., torch.Generator]
    paid: list[Pairs] = field(default_factory=list)
    rounds: int = 0

    def run(
        self,
        on_step: Callable[[int, float, float], None],
        save: Callable[[dict[str, Any]], None],
    ) -> None:
        """All rounds, or those that are left; arguments as of `train`.

        Where f̂ is no number the lesson ends, with `training.finite` False.
        """
        surrogate = Surrogate(self.f.model, self.acceptance)
        for number in range(1, ROUNDS + 1):
            if number > self.rounds:
                self._ask(number)
            if not self.training.finite:
                return
            train(
                surrogate,
                self.training,
                self.settings,
                until=math.ceil(number * self.training.schedule.steps / ROUNDS),
                on_step=on_step,
                save=lambda _: save(self.state_dict()),
            )

    def _ask(self, number: int) -> None:
        """Begin a round: ask f̂ where s says that the tilt is, and fit s to the answers."""
        beta, steps = self.training.schedule.beta, self.training.schedule.steps
        generator = self.generator("surrogate", number)
        if self.pool.is_finite:
            if self.acceptance.beta.item() == 0.0:
                self._fit(FIRST * steps, generator)
            self.acceptance.beta.fill_(beta)
            mixture = Mixture(self.f.model, self.training.flow)
            n = math.ceil(self.settings.n_learn / ROUNDS)
            for pairs in ask(self.acceptance, self.f, mixture, n, generator):
                self._learn(pairs)
        self.training.finite = self.pool.is_finite
        if self.training.finite:
            self._fit(LATER * steps, generator)
        self.rounds = number

    def _fit(self, steps: float, generator: torch.Generator) -> None:
        beta = self.training.schedule.beta
        enough = math.ceil(max(steps, EPOCHS * self.pool.size / BATCH))
        fit(self.acceptance, self.pool, beta, enough, generator, self.typical)

    def _learn(self, pairs: Pairs) -> None:
        self.paid.append(pairs)
        self.pool.add(pairs)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        learned = {"acceptance": self.acceptance.snapshot(), "rounds": self.rounds}
        return self.training.state_dict() | learned | {"paid": state_of(self.paid)}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.training.load(state)
        self.acceptance.load_state_dict(state["acceptance"])
        self.acceptance.nets.requires_grad_(False)
        self.rounds = state["rounds"]
        self._learn(pairs_of(state["paid"], self.acceptance.center.device))


def pairs_of(state: State, device: torch.device) -> Pairs:
    """The pairs that `state_of` kept."""
    return state["z"].to(device), state["f"].to(device)
