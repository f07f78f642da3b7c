"""What `criterion=fit` gives: f of θ for one data set, and how far to believe it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from btgm_cli.core.capping import capped, ceiling_over
from btgm_cli.domains.simulators.adversarial import Equilibrium, Tilt
from btgm_cli.domains.simulators.model import Parameters
from btgm_cli.domains.simulators.neural import Trained, UnitsLikelihood
from btgm_cli.domains.simulators.rounds import Agreement
from btgm_cli.domains.simulators.simulator import prior_draws
from btgm_cli.domains.simulators.synthetic import Fitted, Likelihood, Observed, Shape

LARGEST_SHIFT, LARGEST_RATIO = 0.6, 1.35
"""Between two emulators of half the simulations each; that of all is off by half as much."""

LEAST_SHARE = 0.1
"""Between the same: below, one rules out what the other holds to be likely."""

LARGEST_WIDENING = 0.4
"""Of either half: the posterior by all is then a tenth wider than it would be without error."""

LARGEST_SKEWNESS, LARGEST_KURTOSIS = 0.5, 1.0
"""Of the mean statistics of such data: beyond, as for extremes of one unit, no normal is right."""

MOST_UNITS = 100
"""Of data for a density: what log q of a unit is off by adds up over them."""

UNLIKELY = 1e-3
"""Probability of statistics as far from the simulator's best, below which it is no simulator of
these data."""

N_SEEN = 1000
"""Draws of p that tell how low f is there."""

CHECK = "check data, simulator and prior: criterion.data, model.simulate, model.prior"


class Capped:
    """f of θ that falls as its logarithm where it is far below the best (`core.capping`)."""

    model: Parameters
    fitted: Equilibrium | Fitted | Trained

    @property
    def uncapped(self) -> Callable[[Tensor], Tensor]:
        """f as it is, (n,) for θ (n, P), float64."""
        raise NotImplementedError

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for θ (n, P), nats."""
        return -capped(-self.uncapped(x.cpu().double()), self._ceiling).to(x)

    @cached_property
    def _ceiling(self) -> float:
        """−f beyond which f falls so: not above half of p's."""
        theta = prior_draws(self.model.simulator.prior, N_SEEN, 0, "ceiling")
        with torch.no_grad():
            energies = -self.uncapped(theta)
        return ceiling_over(energies, -self.fitted.best, self.model.latent_dim)


@dataclass(frozen=True)
class FittedCritic(Capped):
    """f of `Fit` by critics: deterministic, with gradient, and no likelihood.

    Args:
        model: the simulator's.
        fitted: the saddle point, and how far to believe it.
        simulations: that were allowed.
    """

    model: Parameters
    fitted: Equilibrium
    simulations: int

    @property
    def uncapped(self) -> Tilt:
        """f as it is."""
        return Tilt(self.model.simulator.prior, self.fitted.scores, self.fitted.weights)

    @property
    def doubt(self) -> str:
        """Why f may not be believed: the critics of separate simulations differ."""
        return differ(self.fitted.agreement, "critics")

    @property
    def remedy(self) -> str:
        """More simulations."""
        return f"criterion.simulations={4 * self.simulations}"


@dataclass(frozen=True)
class FittedLikelihood(Capped):
    """f of `Fit` for one simulator and one data set: deterministic, with gradient.

    Args:
        model: the simulator's.
        fitted: emulator, and how far to believe it.
        observed: the data's statistics.
        simulations: that were allowed.
    """

    model: Parameters
    fitted: Fitted
    observed: Observed
    simulations: int

    @property
    def uncapped(self) -> Callable[[Tensor], Tensor]:
        """log-likelihood of θ (n, P), (n,), as it is."""
        prior = self.model.simulator.prior
        return Likelihood(prior, self.fitted.emulator, self.observed)

    @property
    def doubt(self) -> str:
        """Why f may not be believed: emulators differ, data are not normal, no θ makes such."""
        spare = len(self.observed.statistics) - len(self.model.simulator.prior)
        return (
            differ(self.fitted.agreement, "emulators")
            or skewed(self.fitted.shape)
            or unlike(self.fitted.misfit, spare)
        )

    @property
    def remedy(self) -> str:
        """More simulations, where that is what f lacks; a density, where data are not normal."""
        if differ(self.fitted.agreement, "emulators"):
            return f"criterion.simulations={4 * self.simulations}"
        if not skewed(self.fitted.shape):
            return CHECK
        if self.observed.size <= MOST_UNITS:
            return "criterion.method=neural"
        return "name statistics that are nearer to normal, by model.summary, or use more data"


@dataclass(frozen=True)
class FittedDensity(Capped):
    """f of `Fit` by a density of the statistics: deterministic, with gradient.

    Args:
        model: the simulator's.
        fitted: density, and how far to believe it.
        units: the data's statistics, shape (N, S).
        simulations: that were allowed.
    """

    model: Parameters
    fitted: Trained
    units: Tensor
    simulations: int

    @property
    def uncapped(self) -> Callable[[Tensor], Tensor]:
        """log-likelihood of θ (n, P), (n,), as it is."""
        return UnitsLikelihood(self.model.simulator.prior, self.fitted.density, self.units)

    @property
    def doubt(self) -> str:
        """Why f may not be believed: no θ makes such data, or densities differ.

        In this order, for where no simulation has been densities differ as well.
        """
        return self._unlike or differ(self.fitted.agreement, "densities")

    @property
    def remedy(self) -> str:
        """More simulations, where that is what f lacks."""
        return CHECK if self._unlike else f"criterion.simulations={4 * self.simulations}"

    @property
    def _unlike(self) -> str:
        spare = self.units.numel() - len(self.model.simulator.prior)
        return unlike(self.fitted.misfit, spare)


WHAT = {FittedLikelihood: "emulators", FittedDensity: "densities", FittedCritic: "critics"}


def told(made: FittedLikelihood | FittedDensity | FittedCritic) -> str:
    """What was simulated and how well it is known, in a line."""
    found, simulator = made.fitted, made.model.simulator
    what = WHAT[type(made)]
    line = (
        f"criterion=fit: {found.units:,} units in {found.rounds} rounds, "
        f"{simulator.units:,} of them simulated now, {simulator.failures} calls failed; two "
        f"{what} of half of them differ by {found.agreement.shift:.2f} posterior deviations"
    )
    return (
        f"{line}; they are no likelihood, and β = 1 is no posterior" if what == "critics" else line
    )


def differ(found: Agreement, what: str) -> str:
    """How two fits (emulators, densities, critics) differ by too much; empty where they do not."""
    halves = f"two {what} of separate simulations"
    if found.shift > LARGEST_SHIFT:
        return f"{halves} differ by {found.shift:.2f} posterior deviations"
    if found.ratio > LARGEST_RATIO:
        return f"{halves} give posteriors of different widths, by a factor of {found.ratio:.2f}"
    if found.share < LEAST_SHARE:
        return f"{halves} give posteriors that share {found.share:.0%} of their draws"
    if found.widening > LARGEST_WIDENING:
        share = f"{found.widening:.0%} of the variance of what is compared"
        return f"the error of one of the {what} is {share}"
    return ""


def unlike(chi2: float, spare: int) -> str:
    """How no θ makes such data; empty where one does, or where no statistics are to spare.

    Args:
        chi2: of the data's statistics at the best θ.
        spare: statistics more than parameters.
    """
    if spare < 1:
        return ""
    half = torch.tensor([spare / 2, chi2 / 2], dtype=torch.double)
    probability = float(torch.special.gammaincc(*half))
    if probability < UNLIKELY:
        told = f"χ² {chi2:.3g}, probability {probability:.1g}"
        return f"no θ gives statistics as the data have: {told}"
    return ""


def skewed(found: Shape) -> str:
    """In what the statistics are not normal; empty where they nearly are."""
    what = "the mean statistics of such data are not normal"
    if found.skewness > LARGEST_SKEWNESS:
        return f"{what}: skewness {found.skewness:.2g}"
    if found.kurtosis > LARGEST_KURTOSIS:
        return f"{what}: excess kurtosis {found.kurtosis:.2g}"
    return ""
