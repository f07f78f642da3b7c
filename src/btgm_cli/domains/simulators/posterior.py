"""What a run leaves of a simulator's parameters: draws of θ, and data simulated there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from btgm_cli.core.contracts import DrawSource, GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.memory import require_memory
from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.simulators.data import read_data
from btgm_cli.domains.simulators.model import Parameters
from btgm_cli.domains.simulators.posterior_pictures import (
    OBSERVED,
    PARAMETERS,
    PREDICTIVE,
    PRIOR,
    draw_posterior,
)
from btgm_cli.domains.simulators.simulator import Simulator
from btgm_cli.store.files import replacing, write_json
from btgm_cli.store.manifest import read_manifest

PREDICTED = 1000
"""Units simulated at most, one at each of so many θ."""

SHOWN = 20_000
"""Observed units kept beside them."""

TRUTH = "posterior_truth.json"


@dataclass(frozen=True)
class Posterior:
    """An export: how many θ of the last β's exact tilt.

    Args:
        n: how many; 0 for none.
        truth: θ by name where it is known, to be drawn.

    Raises:
        SettingError: a negative number.
    """

    n: int = 0
    truth: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.n < 0 or self.n == 1:
            raise SettingError("posterior.n", self.n, "must be 0, or 2 or more")

    def check(self, model: GenerativeModel) -> None:
        """Refuse a model that is no simulator.

        Raises:
            SettingError: it is none, or has other parameters.
        """
        if not self.n:
            return
        if not isinstance(model, Parameters):
            raise SettingError("posterior.n", self.n, "needs model=simulator")
        names = model.simulator.prior.names
        if unknown := sorted(set(self.truth or {}) - set(names)):
            expected = f"has {', '.join(unknown)}; the parameters are {', '.join(names)}"
            raise SettingError("posterior.truth", dict(self.truth or {}), expected)
        require_memory("posterior.n", self.n, 2 * self.n * len(names))

    def write(self, path: Path, draws: DrawSource) -> str:
        """Write θ of p and of the tilt, a unit simulated at each of some, and the data's own.

        Returns:
            Why nothing was written; empty where it was, or nothing is asked for.
        """
        if not self.n:
            return ""
        if draws.doubt:
            return f"{PARAMETERS} not written: {draws.doubt}"
        model = draws.model
        assert isinstance(model, Parameters)
        prior, P = model.simulator.prior, len(model.simulator.prior)
        theta = draws.tilted(self.n)[:, :P].cpu().double()
        of_prior = draws.prior(self.n)[:, :P].cpu().double()
        _write(path / PARAMETERS, theta.numpy(), prior.labels)
        _write(path / PRIOR, of_prior.numpy(), prior.labels)
        seeds = [derived_seed(0, "predictive", k) for k in range(min(self.n, PREDICTED))]
        found = model.simulator.each(theta[: len(seeds)], 1, seeds)
        units = [one for one in found if one is not None]
        _write(path / PREDICTIVE, np.concatenate(units), _statistics(model.simulator))
        _observed(path, model.simulator)
        known = zip(prior.labels, map((self.truth or {}).get, prior.names), strict=True)
        write_json(path / TRUTH, dict(known))
        return ""

    def draw(self, path: Path) -> list[Path]:
        """Draw `posterior.png` and `predictive.png` from the files, where there are any."""
        return draw_posterior(path, path / TRUTH)


def _observed(path: Path, simulator: Simulator) -> None:
    """Write the statistics of the observed units that the run was fitted to, if there are any."""
    manifest = read_manifest(path)
    file = manifest.settings.get("criterion", {}).get("data") if manifest else None
    if file:
        rows = simulator.statistics(read_data(file, simulator))[:SHOWN]
        _write(path / OBSERVED, rows, _statistics(simulator))


def _statistics(simulator: Simulator) -> list[str]:
    """Names of the summary statistics."""
    if simulator.summary is None and simulator.columns:
        return simulator.columns
    return [f"s{k}" for k in range(simulator.n_statistics)]


def _write(path: Path, rows: NDArray[np.float64], names: list[str]) -> None:
    with replacing(path) as temporary:
        pd.DataFrame(rows, columns=names).to_csv(temporary, index=False)
