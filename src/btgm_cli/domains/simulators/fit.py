"""`criterion=fit`: θ of a simulator that explains data; f is fitted again as its tilt narrows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from btgm_cli.core.blame import name_of
from btgm_cli.core.contracts import Covered, GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.simulators.adversarial import AdversarialRounds, Equilibrium
from btgm_cli.domains.simulators.data import read_data
from btgm_cli.domains.simulators.fitted import (
    MOST_UNITS,
    FittedCritic,
    FittedDensity,
    FittedLikelihood,
    told,
)
from btgm_cli.domains.simulators.kept import KeptMoments, KeptUnits, place_of_simulator
from btgm_cli.domains.simulators.learned import with_learned_summary
from btgm_cli.domains.simulators.made import StoredT, keep, place_of, recalled
from btgm_cli.domains.simulators.model import Parameters, Simulated
from btgm_cli.domains.simulators.neural import NeuralRounds, Trained
from btgm_cli.domains.simulators.simulator import prior_draws
from btgm_cli.domains.simulators.synthetic import Fitted, Observed, SyntheticRounds
from btgm_cli.store.files import require_writable

FEWEST = 5000
"""Units of all simulations: two halves of five rounds with 24 places of twenty units."""

FEWEST_NEURAL = 10_000
"""Likewise: two halves of four rounds with 960 places, of two units in the last."""


class Method(StrEnum):
    """How f is made."""

    SYNTHETIC = "synthetic"
    NEURAL = "neural"
    ADVERSARIAL = "adversarial"


class Fit:
    """f(θ) = log N(s; μ(θ), Σ(θ)/N), s the mean summary statistics of N observed units.

    μ and Σ, of one unit, are emulated: `rounds` simulates where the posterior is, twice, and
    compares. A synthetic likelihood (Wood 2010) knows of the data what the statistics have, and
    takes their mean to be normal.

    Or f(θ) = Σ log q(sᵢ | θ) over the units, q a density that a network learns, which need not be
    normal: for data of one unit, or of few.

    Or f(θ) = N (E_{x|θ} d(x) − d̄), d a Wasserstein critic of units: the saddle point of
    β N W₁(data, q) + KL(q‖p) at β = 1, which is no posterior.

    Args:
        data: file of units, see `data.read_data`.
        simulations: units to be simulated at most, but for the few (2,000, and no more than one
            place of the last round has) that tell whether their mean is normal.
        folder: where simulations that are paid for are kept, for any later run to use.
        method: `synthetic`, `neural` by a density of the statistics, or `adversarial` by a critic.
        learned: compare by statistics that a network learns from simulations of the prior.

    Raises:
        SettingError: too few simulations, or no such method.
    """

    def __init__(
        self,
        data: str,
        simulations: int = 900_000,
        folder: str = "outputs/simulations",
        method: str = Method.SYNTHETIC,
        *,
        learned: bool = False,
    ) -> None:
        if method not in list(Method):
            raise SettingError("criterion.method", method, f"must be one of {', '.join(Method)}")
        fewest = FEWEST_NEURAL if method == Method.NEURAL else FEWEST
        if isinstance(simulations, bool) or simulations < fewest:
            expected = f"must be a whole number, {fewest:,} or more"
            raise SettingError("criterion.simulations", simulations, expected)
        if learned and method == Method.ADVERSARIAL:
            expected = "is not for criterion.method=adversarial: its critics learn from all units"
            raise SettingError("criterion.learned", learned, expected)
        self.data, self.simulations, self.folder = data, simulations, Path(folder)
        self.method, self.learned = Method(method), learned

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
    ) -> FittedLikelihood | FittedDensity | FittedCritic:
        """The criterion, once the simulations are made, or found where they are kept.

        Raises:
            SettingError: no simulator, or one with `model.size`, or one that fails too often.
            DataError: data that are not like the simulator's.
        """
        del device  # f is computed on the CPU, in double precision
        seed = int(torch.randint(2**62, (1,), generator=generator))
        parameters = self._compared(model, seed)
        simulator = parameters.simulator
        units = simulator.statistics(read_data(self.data, simulator))
        if not np.isfinite(units).all():
            raise SettingError("criterion.data", self.data, "its summary is NaN or infinite")
        made = self._fitted(parameters, units, seed)
        print(told(made), file=sys.stderr)
        return made

    def trial(self, model: GenerativeModel, number: int, seed: int) -> list[Covered]:
        """Simulate as many units as the data have at a θ of p, and fit them as the data are.

        What is judged is the tilt by f at β = 1, drawn from by tempered SMC. A flow tuned to it is
        judged by `kl_gap`.
        """
        parameters = self._compared(model, seed)
        simulator = parameters.simulator
        size = len(read_data(self.data, simulator))
        truth = prior_draws(simulator.prior, 1, seed, "calibrate", number)
        of_data = derived_seed(seed, "calibrate", number, "data")
        units = simulator.one(truth, size, of_data)
        of_fit = derived_seed(seed, "calibrate", number, "fit")
        made = self._fitted(parameters, units, of_fit)
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

    def _fitted(
        self, model: Parameters, units: NDArray[np.float64], seed: int
    ) -> FittedLikelihood | FittedDensity | FittedCritic:
        """f for observed units (N, S)."""
        require_writable("criterion.folder", self.folder)
        if self.method is Method.ADVERSARIAL:
            return self._by_critics(model, torch.from_numpy(units), seed)
        if self.method is Method.NEURAL:
            return self._by_density(model, torch.from_numpy(units), seed)
        return self._by_emulator(model, torch.from_numpy(units), seed)

    def _by_emulator(self, model: Parameters, units: Tensor, seed: int) -> FittedLikelihood:
        observed = Observed(units.mean(0), len(units))
        place = place_of_simulator(model.simulator, self.folder)
        path = place_of(place, SyntheticRounds.about(observed, self.simulations, seed))
        found = recalled(path, Fitted)
        if found is None:
            kept = KeptMoments(model.simulator, place)
            found = SyntheticRounds(model, kept, observed, self.simulations, seed).run()
            keep(path, found)
        return FittedLikelihood(model, found, observed, self.simulations)

    def _by_density(self, model: Parameters, units: Tensor, seed: int) -> FittedDensity:
        if len(units) > MOST_UNITS:
            expected = (
                f"is for {MOST_UNITS} units of data at most, here are {len(units):,}: errors of a "
                "density add up over them; choose synthetic, whose mean statistics are normal then"
            )
            raise SettingError("criterion.method", str(self.method), expected)
        about = NeuralRounds.about(units, self.simulations, seed)

        def run(kept: KeptUnits) -> Trained:
            return NeuralRounds(model, kept, units, self.simulations, seed).run()

        found = self._from_units(model, about, Trained, run)
        return FittedDensity(model, found, units, self.simulations)

    def _by_critics(self, model: Parameters, units: Tensor, seed: int) -> FittedCritic:
        about = AdversarialRounds.about(units, self.simulations, seed)

        def run(kept: KeptUnits) -> Equilibrium:
            return AdversarialRounds(model, kept, units, self.simulations, seed).run()

        found = self._from_units(model, about, Equilibrium, run)
        return FittedCritic(model, found, self.simulations)

    def _from_units(
        self,
        model: Parameters,
        about: tuple[object, ...],
        kind: type[StoredT],
        run: Callable[[KeptUnits], StoredT],
    ) -> StoredT:
        """What all rounds leave, from where it is kept, or by simulations kept until they end."""
        path = place_of(place_of_simulator(model.simulator, self.folder), about)
        found = recalled(path, kind)
        if found is None:
            kept = KeptUnits(model.simulator, path.with_name(f"{path.stem}_units.npz"))
            found = run(kept)
            keep(path, found)
            kept.remove()
        return found


def _parameters_of(model: GenerativeModel) -> Parameters:
    """The model, if its x is θ."""
    if not isinstance(model, Parameters) or isinstance(model, Simulated):
        expected = f"needs model=simulator, without model.size; here is {name_of(model)}"
        raise SettingError("criterion", "fit", expected)
    return model
