"""Rounds by Wasserstein critics: adversarial variational optimization, held to the prior.

Louppe, Hermans & Cranmer (*Adversarial Variational Optimization of Non-Differentiable Simulators*,
AISTATS 2019) let a critic d and a proposal q play for E d(data) − E_q E_{x|θ} d(x). With KL(q‖p)
as an anchor the game has one saddle point, a tilt of p by the expected score of its critic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.simulators.critic import Critic, Scale, fitted_critic
from btgm_cli.domains.simulators.dual import Scores, balanced
from btgm_cli.domains.simulators.gaussian_process import Processes, fitted_alike
from btgm_cli.domains.simulators.kept import KeptUnits
from btgm_cli.domains.simulators.model import Parameters
from btgm_cli.domains.simulators.priors import Prior
from btgm_cli.domains.simulators.rounds import Agreement, Posterior, Rounds

VERSION = 1
"""Of how critics are fitted: a file of another is not read."""

NUMBERS = ("best", "rounds", "units", "size")

TOGETHER = 200
"""Units at a place, by which it is told how critics' scores of one unit vary together."""


@dataclass(frozen=True, eq=False)
class Faced:
    """A round: what was simulated, and the critic that has learned to tell it from the data.

    Args:
        u: θ of the places on scales of order one, shape (k, P).
        units: at each, shape (k, n, S), in single precision.
        critic: fitted to those of the tilt.
    """

    u: Tensor
    units: Tensor
    critic: Critic


class Tilt:
    """size Σ cₖ (E_{x|θ} dₖ − d̄ₖ) as a criterion: x = θ (n, P) to (n,), nats.

    Args:
        prior: over θ.
        scores: of the critics.
        weights: of the critics, on `Scores.means`, shape (K,).
    """

    def __init__(self, prior: Prior, scores: Scores, weights: Tensor) -> None:
        self.prior, self.scores, self.weights = prior, scores, weights

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,)."""
        return self.of_scaled(self.prior.scaled(x)).to(x)

    def of_scaled(self, u: Tensor) -> Tensor:
        """f of shape (n,) for θ on scales of order one, (n, P)."""
        return self.scores.means(u) @ self.weights


@dataclass(frozen=True)
class Balanced(Posterior):
    """The tilt at a saddle point.

    Args:
        scores: of the critics.
        weights: theirs.
    """

    scores: Scores
    weights: Tensor


@dataclass(frozen=True)
class Equilibrium:
    """What all rounds left.

    Args:
        scores: of all critics.
        weights: theirs, shape (K,).
        agreement: of the two halves.
        best: largest f of the tilt's draws, nats.
        rounds: how many.
        units: simulated.
        theta: draws of the tilt by all simulations, shape (n, P).
    """

    scores: Scores
    weights: Tensor
    agreement: Agreement
    best: float
    rounds: int
    units: int
    theta: Tensor

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """All of it by name, for a file."""
        scores = self.scores
        numbers = {"best": self.best, "rounds": self.rounds, "units": self.units}
        return {
            **scores.processes.arrays("means"),
            **{key: getattr(scores, key).numpy() for key in ("spread", "within")},
            **{key: getattr(self, key).numpy() for key in ("weights", "theta")},
            **{key: np.array(float(n)) for key, n in (numbers | {"size": scores.size}).items()},
            "agreement": np.array(astuple(self.agreement)),
        }

    @classmethod
    def of(cls, found: Mapping[str, Tensor]) -> Equilibrium:
        """From the arrays of a file."""
        processes = Processes.of(found, "means")
        best, rounds, units, size = (found[name].item() for name in NUMBERS)
        scores = Scores(processes, found["spread"], found["within"], int(size))
        agreement, counts = Agreement(*found["agreement"].tolist()), (int(rounds), int(units))
        return cls(scores, found["weights"], agreement, best, *counts, found["theta"])


class AdversarialRounds(Rounds[Faced, Balanced]):
    """Both chains by critics, each round's fitted at the draws of the last tilt.

    Args:
        model: x = θ.
        kept: where simulations come from.
        real: the data's units, shape (N, S).
        most: units of all simulations.
        seed: of everything random.
    """

    def __init__(
        self, model: Parameters, kept: KeptUnits, real: Tensor, most: int, seed: int
    ) -> None:
        super().__init__(model, most, seed)
        self.kept, self.real = kept, real.float()
        self._scale: dict[str, Scale] = {}
        self._scored: dict[tuple[Critic, Faced], tuple[Tensor, Tensor]] = {}
        self._weights: dict[Critic, float] = {}

    @staticmethod
    def about(real: Tensor, most: int, seed: int) -> tuple[object, ...]:
        """All that the result depends on, beside the simulator."""
        return VERSION, hashlib.sha256(real.float().numpy().tobytes()).hexdigest(), most, seed

    def run(self) -> Equilibrium:
        """All rounds, and the saddle point by all their critics and simulations."""
        halves = self.halves()
        whole = self.posterior(halves.chains, "whole", 0)
        return Equilibrium(
            whole.scores,
            whole.weights,
            halves.agreement,
            whole.drawn.f.max().item(),
            halves.rounds,
            sum(part.units[..., 0].numel() for chain in halves.chains for part in chain),
            whole.drawn.theta,
        )

    def simulated(self, theta: Tensor, n: int, half: str, number: int) -> Faced:
        """The units, and a critic for those at the tilt: all of them, where that is the prior."""
        told = f"simulations, round {number + 1}, {half} half"
        calls = self.kept.at(theta, n, self.seeds(len(theta), half, number), told)
        good = [k for k, found in enumerate(calls) if found is not None]
        units = torch.from_numpy(np.stack([found for found in calls if found is not None]))
        own = units if number == 0 else units[: sum(k < self.at_tilt for k in good)]
        if half not in self._scale:
            # Few data do not tell how units vary.
            enough = len(self.real) > 10 * units.shape[2]
            self._scale[half] = Scale.of(self.real if enough else units.flatten(0, 1))
        seed = derived_seed(self.seed, half, number)
        critic = fitted_critic(self.real, own.flatten(0, 1), self._scale[half], seed)
        return Faced(self.model.simulator.prior.scaled(theta[good]), units, critic)

    def posterior(self, chains: Sequence[Sequence[Faced]], *purpose: object) -> Balanced:
        """The tilt by the critics of these chains, with the weights of their saddle point."""
        prior = self.model.simulator.prior
        scores = self._scores([part for chain in chains for part in chain], chains[-1][-1])
        critics = [part.critic for chain in chains for part in chain]
        known = torch.tensor([self._weights.get(critic, 0.0) for critic in critics]).double()

        def draws(weights: Tensor, visit: int) -> tuple[Tensor, float]:
            drawn = self.drawn(Tilt(prior, scores, weights), *purpose, visit)
            return prior.scaled(drawn.theta), drawn.log_z

        weights = balanced(scores, draws, known * scores.spread / len(chains))
        of_critic = (weights / scores.spread).tolist()
        self._weights.update(zip(critics, of_critic, strict=True))
        tilt = Tilt(prior, scores, weights)
        drawn = self.drawn(tilt, *purpose)
        u = prior.scaled(drawn.theta)
        return Balanced(drawn, u, tilt.of_scaled, scores.widening(u), scores, weights)

    def _scores(self, parts: Sequence[Faced], last: Faced) -> Scores:
        """Scores of all critics at all places, as functions of θ."""
        of_data = torch.stack([part.critic(self.real).mean() for part in parts])
        critics = [part.critic for part in parts]
        moments = [[self._moments(critic, part) for critic in critics] for part in parts]
        mean, var = (
            torch.cat([torch.stack([each[k] for each in row], 1) for row in moments])
            for k in range(2)
        )
        some = last.units[:, :TOGETHER]
        each = torch.stack([critic(some.flatten(0, 1)) for critic in critics], 1)
        away = each.view(*some.shape[:2], -1)
        away = (away - away.mean(1, keepdim=True)).flatten(0, 1)
        covariance = torch.atleast_2d(torch.cov(away.T))
        spread = covariance.diagonal().sqrt().clamp(min=1e-12)
        n = torch.cat([torch.full((len(part.u),), part.units.shape[1]) for part in parts])
        errors = (var / spread.square()).mean(1) / n
        places = torch.cat([part.u for part in parts])
        processes = fitted_alike(places, (mean - of_data) / spread, errors)
        within = covariance / torch.outer(spread, spread)
        return Scores(processes, spread, within, len(self.real))

    def _moments(self, critic: Critic, part: Faced) -> tuple[Tensor, Tensor]:
        """Mean and variance of a critic's scores at the places of a round, shape (k,) each."""
        if (critic, part) not in self._scored:
            scores = critic(part.units.flatten(0, 1)).view(part.units.shape[:2])
            self._scored[critic, part] = scores.mean(1), scores.var(1)
        return self._scored[critic, part]
