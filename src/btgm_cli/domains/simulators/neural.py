"""Rounds by a neural likelihood: a density of statistics, learned again from all simulations.

Sequential neural likelihood (Papamakarios, Sterratt & Murray, AISTATS 2019): simulate where the
last posterior is, fit q(s | θ) to all that has been simulated, and take the posterior by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.simulators.density import Density, Units, fitted_density
from btgm_cli.domains.simulators.kept import KeptUnits
from btgm_cli.domains.simulators.model import Parameters
from btgm_cli.domains.simulators.priors import Prior
from btgm_cli.domains.simulators.rounds import Agreement, Posterior, Rounds

VERSION = 1
"""Of how a density is fitted: a file of another is not read."""

NUMBERS = ("best", "misfit", "rounds", "units")


@dataclass(frozen=True)
class ByDensity(Posterior):
    """A density's posterior.

    Args:
        density: of the statistics.
    """

    density: Density


class UnitsLikelihood:
    """log-likelihood of θ by a density of the units' statistics: x = θ (n, P) to (n,).

    Args:
        prior: over θ.
        density: of one unit's statistics.
        units: the data's statistics, shape (N, S).
    """

    def __init__(self, prior: Prior, density: Density, units: Tensor) -> None:
        self.prior, self.density, self.units = prior, density, units

    def __call__(self, x: Tensor) -> Tensor:
        """log-likelihood, nats, shape (n,)."""
        return self.density.log_prob(self.prior.scaled(x), self.units).to(x)


@dataclass(frozen=True)
class Trained:
    """What all rounds left.

    Args:
        density: by all simulations.
        agreement: of the two halves.
        best: largest log-likelihood of the posterior's draws, nats.
        misfit: smallest χ² of the data's statistics there.
        rounds: how many.
        units: simulated.
        theta: draws of the posterior by all simulations, shape (n, P).
    """

    density: Density
    agreement: Agreement
    best: float
    misfit: float
    rounds: int
    units: int
    theta: Tensor

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """All of it by name, for a file."""
        found = self.density.arrays() | {"theta": self.theta.numpy()}
        found["agreement"] = np.array(astuple(self.agreement))
        return found | {name: np.array(float(getattr(self, name))) for name in NUMBERS}

    @classmethod
    def of(cls, found: Mapping[str, Tensor]) -> Trained:
        """From the arrays of a file."""
        best, misfit, rounds, units = (found[name].item() for name in NUMBERS)
        agreement, counts = Agreement(*found["agreement"].tolist()), (int(rounds), int(units))
        density = Density.of(found)
        return cls(density, agreement, best, misfit, *counts, found["theta"])


class NeuralRounds(Rounds[Units, ByDensity]):
    """Both chains by densities.

    Args:
        model: x = θ.
        kept: where simulations come from.
        observed: statistics of the data's units, shape (N, S).
        most: units of all simulations.
        seed: of everything random.
    """

    most_rounds: ClassVar[int] = 4
    places: ClassVar[int] = 960
    fewest_units: ClassVar[int] = 1

    def __init__(
        self, model: Parameters, kept: KeptUnits, observed: Tensor, most: int, seed: int
    ) -> None:
        super().__init__(model, most, seed)
        self.kept, self.observed = kept, observed

    @staticmethod
    def about(observed: Tensor, most: int, seed: int) -> tuple[object, ...]:
        """All that the result depends on, beside the simulator."""
        content = hashlib.sha256(observed.numpy().tobytes()).hexdigest()
        return "neural", VERSION, content, most, seed

    def run(self) -> Trained:
        """All rounds, and the density by all that they have simulated."""
        halves = self.halves()
        whole = self.posterior(halves.chains, "whole", 0)
        chi2 = whole.density.chi2(whole.u, self.observed)
        return Trained(
            whole.density,
            halves.agreement,
            whole.drawn.f.max().item(),
            chi2.min().item(),
            halves.rounds,
            sum(len(part.u) for chain in halves.chains for part in chain),
            whole.drawn.theta,
        )

    def is_enough(self, agreement: Agreement) -> bool:
        """Never: what has seen few is too wide in both halves alike, which no agreement tells."""
        return False

    def simulated(self, theta: Tensor, n: int, half: str, number: int) -> Units:
        """Statistics of each unit."""
        told = f"simulations, round {number + 1}, {half} half"
        calls = self.kept.at(theta, n, self.seeds(len(theta), half, number), told)
        good = [k for k, found in enumerate(calls) if found is not None]
        s = np.concatenate([found for found in calls if found is not None])
        u = self.model.simulator.prior.scaled(theta[good]).repeat_interleave(n, 0)
        return Units(u, torch.from_numpy(s).double())

    def posterior(self, chains: Sequence[Sequence[Units]], *purpose: object) -> ByDensity:
        """The posterior by the density of all simulations, its scales those of the last."""
        rounds = [part for chain in chains for part in chain]
        last = [chain[-1] for chain in chains]
        density = fitted_density(rounds, last, derived_seed(self.seed, "density", *purpose))
        prior = self.model.simulator.prior
        drawn = self.drawn(UnitsLikelihood(prior, density, self.observed), *purpose)
        value = partial(density.log_prob, s=self.observed)
        # A density does not know its own error: what the halves differ by is all that tells of it.
        return ByDensity(drawn, prior.scaled(drawn.theta), value, 0.0, density)
