"""`criterion=fit`: a synthetic log-likelihood by an emulator; β = 1 is the posterior."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from btgm_cli.core.blame import name_of
from btgm_cli.core.capping import CEILING, capped
from btgm_cli.core.contracts import Covered, GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.simulators.data import read_data
from btgm_cli.domains.simulators.kept import Kept
from btgm_cli.domains.simulators.learned import with_learned_summary
from btgm_cli.domains.simulators.made import recalled
from btgm_cli.domains.simulators.model import Parameters, Simulated
from btgm_cli.domains.simulators.rounds import Agreement, Fitted, Likelihood, Observed, Rounds
from btgm_cli.domains.simulators.simulator import prior_draws

FEWEST = 5000
"""Units of all simulations: two halves of five rounds with 24 places of twenty units."""

LARGEST_SHIFT, LARGEST_RATIO = 0.6, 1.35
"""Between two emulators of half the simulations each; that of all is off by half as much."""

LEAST_SHARE = 0.1
"""Between the same: below, one rules out what the other holds to be likely."""

LARGEST_WIDENING = 0.4
"""Of either half: the posterior by all is then a tenth wider than it would be without error."""

UNLIKELY = 1e-3
"""Probability of statistics as far from the simulator's best, below which it is no simulator of
these data."""


class Fit:
    """f(θ) = log N(s; μ(θ), Σ(θ)/N), s the mean summary statistics of N observed units.

    μ and Σ, of one unit, are emulated: `rounds` simulates where the posterior is, twice, and
    compares. A synthetic likelihood (Wood 2010) knows of the data what the statistics have, and
    takes their mean to be normal.

    Args:
        data: file of units, see `data.read_data`.
        simulations: units to be simulated at most.
        folder: where simulations that are paid for are kept, for any later run to use.
        learned: compare by statistics that a network learns from simulations of the prior.

    Raises:
        SettingError: too few simulations.
    """

    def __init__(
        self,
        data: str,
        simulations: int = 900_000,
        folder: str = "outputs/simulations",
        *,
        learned: bool = False,
    ) -> None:
        if isinstance(simulations, bool) or simulations < FEWEST:
            expected = f"must be a whole number, {FEWEST:,} or more"
            raise SettingError("criterion.simulations", simulations, expected)
        self.data, self.simulations, self.folder = data, simulations, Path(folder)
        self.learned = learned

    def __call__(self, x: Tensor) -> Tensor:
        """Without a simulator there is no value.

        Raises:
            SettingError: always; `under(model, generator)` gives the criterion.
        """
        expected = "is told by a simulator: call its method `under` first"
        raise SettingError("criterion", "fit", expected)

    def under(
        self,
        model: GenerativeModel,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> FittedLikelihood:
        """The criterion, once the simulations are made, or found where they are kept.

        Raises:
            SettingError: no simulator, or one with `model.size`, or one that fails too often.
            DataError: data that are not like the simulator's.
        """
        del device  # f is computed on the CPU, in double precision
        seed = int(torch.randint(2**62, (1,), generator=generator))
        parameters = self._compared(model, seed)
        simulator = parameters.simulator
        statistics = torch.from_numpy(simulator.statistics(read_data(self.data, simulator)))
        if not torch.isfinite(statistics).all():
            raise SettingError("criterion.data", self.data, "its summary is NaN or infinite")
        observed = Observed(statistics.mean(0), len(statistics))
        made = self._fitted(parameters, observed, seed)
        print(told(made), file=sys.stderr)
        return made

    def trial(self, model: GenerativeModel, number: int, seed: int) -> list[Covered]:
        """Simulate as many units as the data have at a θ of p, and fit them as the data are.

        What is judged is the posterior by the emulator, drawn from by tempered SMC. A flow tuned
        to it is judged by `kl_gap`.
        """
        parameters = self._compared(model, seed)
        simulator = parameters.simulator
        size = len(read_data(self.data, simulator))
        truth = prior_draws(simulator.prior, 1, seed, "calibrate", number)
        of_data = derived_seed(seed, "calibrate", number, "data")
        mean = torch.from_numpy(simulator.data(truth, size, [of_data])[0])
        of_fit = derived_seed(seed, "calibrate", number, "fit")
        made = self._fitted(parameters, Observed(mean, size), of_fit)
        theta = made.fitted.theta
        ranks = (theta < truth).double().mean(0)
        return [
            Covered(
                name,
                truth[0, k].item(),
                theta[:, k].mean().item(),
                theta[:, k].std().item(),
                ranks[k].item(),
                made.doubt,
            )
            for k, name in enumerate(simulator.prior.names)
        ]

    def _compared(self, model: GenerativeModel, seed: int) -> Parameters:
        """The model, with a summary that is learned where that is asked for."""
        parameters = _parameters_of(model)
        return with_learned_summary(parameters, seed) if self.learned else parameters

    def _fitted(self, model: Parameters, observed: Observed, seed: int) -> FittedLikelihood:
        kept = Kept(model.simulator, self.folder)
        rounds = Rounds(model, kept, observed, self.simulations, seed)
        return FittedLikelihood(model, recalled(kept, rounds), observed, self.simulations)


def _parameters_of(model: GenerativeModel) -> Parameters:
    """The model, if its x is θ."""
    if not isinstance(model, Parameters) or isinstance(model, Simulated):
        expected = f"needs model=simulator, without model.size; here is {name_of(model)}"
        raise SettingError("criterion", "fit", expected)
    return model


def told(made: FittedLikelihood) -> str:
    """What was simulated and how well it is known, in a line."""
    found, simulator = made.fitted, made.model.simulator
    return (
        f"criterion=fit: {found.units:,} units in {found.rounds} rounds, "
        f"{simulator.units:,} of them simulated now, {simulator.failures} calls failed; two "
        f"emulators of half of them differ by {found.agreement.shift:.2f} posterior deviations"
    )


@dataclass(frozen=True)
class FittedLikelihood:
    """f of `Fit` for one simulator and one data set: deterministic, with gradient.

    Beyond a ceiling, far below the best, f falls as its logarithm (`core.capping`).

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

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for θ (n, P), nats."""
        f = self.likelihood(x.cpu().double())
        ceiling = -self.fitted.best + CEILING + self.model.latent_dim
        return -capped(-f, ceiling).to(x)

    @property
    def likelihood(self) -> Callable[[Tensor], Tensor]:
        """log-likelihood of θ (n, P), (n,), as it is."""
        prior = self.model.simulator.prior
        return Likelihood(prior, self.fitted.emulator, self.observed)

    @property
    def misfit(self) -> float:
        """Probability of statistics as far from the best by χ²; 1 where none are to spare."""
        spare = len(self.observed.statistics) - len(self.model.simulator.prior)
        if spare < 1:
            return 1.0
        half = torch.tensor([spare / 2, self.fitted.misfit / 2], dtype=torch.double)
        return float(torch.special.gammaincc(*half))

    @property
    def doubt(self) -> str:
        """Why f may not be believed: the emulators differ, or no θ makes such data."""
        if reason := _differ(self.fitted.agreement):
            return reason
        if self.misfit < UNLIKELY:
            return (
                f"no θ gives statistics as the data have: χ² {self.fitted.misfit:.3g}, "
                f"probability {self.misfit:.1g}"
            )
        return ""

    @property
    def remedy(self) -> str:
        """More simulations, where that is what f lacks."""
        if _differ(self.fitted.agreement):
            return f"criterion.simulations={4 * self.simulations}"
        return "check data, simulator and prior: criterion.data, model.simulate, model.prior"


def _differ(found: Agreement) -> str:
    """How two emulators of separate simulations differ by too much; empty where they do not."""
    halves = "two emulators of separate simulations"
    if found.shift > LARGEST_SHIFT:
        return f"{halves} differ by {found.shift:.2f} posterior deviations"
    if found.ratio > LARGEST_RATIO:
        return f"{halves} give posteriors of different widths, by a factor of {found.ratio:.2f}"
    if found.share < LEAST_SHARE:
        return f"{halves} give posteriors that share {found.share:.0%} of their draws"
    if found.widening > LARGEST_WIDENING:
        return f"an emulator's error is {found.widening:.0%} of the variance of the statistics"
    return ""
