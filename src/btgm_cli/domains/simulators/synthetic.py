"""Rounds by a synthetic likelihood: an emulator of summary statistics, fitted again each time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.simulators.emulator import Emulator, Simulations
from btgm_cli.domains.simulators.gaussian_process import Processes
from btgm_cli.domains.simulators.kept import KeptMoments
from btgm_cli.domains.simulators.model import Parameters
from btgm_cli.domains.simulators.priors import Prior
from btgm_cli.domains.simulators.rounds import Agreement, Posterior, Rounds

UNITS = 2000
"""Of one call at the posterior's mean, which tell how normal a mean of as many as the data is."""

VERSION = 3
"""Of how an emulator is fitted: a file of another is not read."""

NUMBERS = ("best", "misfit", "rounds", "units")


@dataclass(frozen=True)
class Observed:
    """The data that are to be explained.

    Args:
        statistics: mean summary statistics, shape (S,).
        size: units.
    """

    statistics: Tensor
    size: int


@dataclass(frozen=True)
class Shape:
    """How far mean statistics of data are from normal, as the likelihood takes them to be.

    Args:
        skewness: the largest of a statistic, less two of its errors; 0 of a normal one.
        kurtosis: excess over a normal one's, likewise.
    """

    skewness: float
    kurtosis: float

    @classmethod
    def of(cls, statistics: Tensor, size: int) -> Shape:
        """Of the mean of so many units, whose statistics (n, S) these are."""
        n = len(statistics)
        away = statistics.double() - statistics.double().mean(0)
        z = away / away.std(0, correction=0).clamp(min=1e-300)
        skewness = (z**3).mean(0).abs().max().item() - 2 * math.sqrt(6 / n)
        kurtosis = (z**4).mean(0).sub(3).abs().max().item() - 2 * math.sqrt(24 / n)
        return cls(max(skewness, 0.0) / math.sqrt(size), max(kurtosis, 0.0) / size)


@dataclass(frozen=True)
class Emulated(Posterior):
    """An emulator's posterior.

    Args:
        emulator: of the statistics.
    """

    emulator: Emulator


class Likelihood:
    """log-likelihood of θ by an emulator, as a criterion: x = θ (n, P) to (n,).

    Args:
        prior: over θ.
        emulator: of the statistics.
        observed: the data's.
    """

    def __init__(self, prior: Prior, emulator: Emulator, observed: Observed) -> None:
        self.prior, self.emulator, self.observed = prior, emulator, observed

    def __call__(self, x: Tensor) -> Tensor:
        """log-likelihood, nats, shape (n,)."""
        u = self.prior.scaled(x)
        f = self.emulator.log_likelihood(u, self.observed.statistics, self.observed.size)
        return f.to(x)


@dataclass(frozen=True)
class Fitted:
    """What all rounds left.

    Args:
        emulator: of all simulations.
        agreement: of the two halves.
        best: largest log-likelihood of the posterior's draws, nats.
        misfit: smallest χ² of the data's statistics there.
        rounds: how many.
        units: simulated.
        shape: of the mean statistics of such data at the posterior's mean.
        theta: draws of the posterior by all simulations, shape (n, P).
    """

    emulator: Emulator
    agreement: Agreement
    best: float
    misfit: float
    rounds: int
    units: int
    shape: Shape
    theta: Tensor

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """All of it by name, for a file."""
        emulator = self.emulator
        found = {"turn": emulator.turn.numpy(), "theta": self.theta.numpy()}
        found |= emulator.means.arrays("means") | emulator.logs.arrays("logs")
        found["agreement"] = np.array(astuple(self.agreement))
        found["shape"] = np.array(astuple(self.shape))
        return found | {name: np.array(float(getattr(self, name))) for name in NUMBERS}

    @classmethod
    def of(cls, found: Mapping[str, Tensor]) -> Fitted:
        """From the arrays of a file."""
        means, logs = (Processes.of(found, name) for name in ("means", "logs"))
        best, misfit, rounds, units = (found[name].item() for name in NUMBERS)
        emulator, shape = Emulator(found["turn"], means, logs), Shape(*found["shape"].tolist())
        agreement, counts = Agreement(*found["agreement"].tolist()), (int(rounds), int(units))
        return cls(emulator, agreement, best, misfit, *counts, shape, found["theta"])


class SyntheticRounds(Rounds[Simulations, Emulated]):
    """Both chains by emulators.

    Args:
        model: x = θ.
        kept: where simulations come from.
        observed: the data's statistics.
        most: units of all simulations.
        seed: of everything random.
    """

    def __init__(
        self, model: Parameters, kept: KeptMoments, observed: Observed, most: int, seed: int
    ) -> None:
        super().__init__(model, most, seed)
        self.kept, self.observed = kept, observed

    @staticmethod
    def about(observed: Observed, most: int, seed: int) -> tuple[object, ...]:
        """All that the result depends on, beside the simulator."""
        return VERSION, observed.statistics.tolist(), observed.size, most, seed

    def run(self) -> Fitted:
        """All rounds, and the emulator of all that they have simulated."""
        halves, observed = self.halves(), self.observed
        whole = self.posterior(halves.chains, "whole", 0)
        chi2 = whole.emulator.chi2(whole.u, observed.statistics, observed.size)
        theta = whole.drawn.theta
        return Fitted(
            whole.emulator,
            halves.agreement,
            whole.drawn.f.max().item(),
            chi2.min().item(),
            halves.rounds,
            sum(int(part.n.sum()) for chain in halves.chains for part in chain),
            self._shape(theta.mean(0, keepdim=True)),
            theta,
        )

    def simulated(self, theta: Tensor, n: int, half: str, number: int) -> Simulations:
        """Moments of the statistics."""
        told = f"simulations, round {number + 1}, {half} half"
        moments = self.kept.at(theta, n, self.seeds(len(theta), half, number), told)
        return Simulations.of(self.model.simulator.prior, theta, moments)

    def posterior(self, chains: Sequence[Sequence[Simulations]], *purpose: object) -> Emulated:
        """The posterior by the emulator of all simulations, its covariances those of the last."""
        seen = [part for chain in chains for part in chain]
        recent = [part is chain[-1] for chain in chains for part in chain]
        weights = zip(seen, recent, strict=True)
        near = torch.cat([torch.full(part.n.shape, float(new)).double() for part, new in weights])
        together = seen[0]
        for part in seen[1:]:
            together = together + part
        emulator, observed = Emulator.of(together, near), self.observed
        prior = self.model.simulator.prior
        drawn = self.drawn(Likelihood(prior, emulator, observed), *purpose)
        u = prior.scaled(drawn.theta)
        value = partial(emulator.log_likelihood, observed=observed.statistics, size=observed.size)
        return Emulated(drawn, u, value, emulator.widening(u, observed.size), emulator)

    def _shape(self, theta: Tensor) -> Shape:
        """Of data at one θ (1, P); that of a normal one where the call fails, which is counted."""
        n, seed = min(UNITS, self.units(self.most_rounds - 1)), derived_seed(self.seed, "shape")
        (found,) = self.model.simulator.each(theta, n, [seed])
        return (
            Shape(0, 0) if found is None else Shape.of(torch.from_numpy(found), self.observed.size)
        )
