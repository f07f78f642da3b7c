"""A simulator with its prior: data at given θ, failures counted and told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.simulators.calls import (
    Caller,
    Point,
    as_units,
    caller_of,
    own_function,
    source_of,
)
from btgm_cli.domains.simulators.commands import CallError
from btgm_cli.domains.simulators.priors import Prior

SIMULATE = "model.simulate"
TRIED = 3
"""Units of the call that is tried twice, before any work."""

FEWEST = 20
"""Calls, before a share of failures is held against anybody."""


@dataclass(frozen=True)
class Moments:
    """What is kept of n units at one θ.

    Args:
        mean: of their summary statistics, shape (S,).
        covariance: of them, shape (S, S), over n − 1.
        n: how many.
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    n: int

    @classmethod
    def of(cls, statistics: NDArray[np.float64]) -> Moments:
        """Of statistics (n, S)."""
        n = len(statistics)
        covariance = np.cov(statistics, rowvar=False) if n > 1 else np.zeros(statistics.shape[1:])
        return cls(statistics.mean(0), np.atleast_2d(covariance), n)


class Simulator:
    """Data by parameters: n independent units at one θ, an event or a whole series each.

    Args:
        simulate: `module:function`, of (theta, n, rng), or of (theta, rng) for one unit; or a
            command that reads a JSON line and writes one.
        prior: over its parameters, as `Prior.of` takes it.
        summary: `module:function`, of units (n, C) to statistics (n, S); None takes the columns.
        columns: their names; None names none.
        processes: that run side by side; 0 calls a function in this process.
        seconds: that a call may take.
        most_failed: share of calls that may fail.

    Raises:
        SettingError: one that cannot be used, or is not repeatable for a seed.
    """

    def __init__(
        self,
        simulate: str,
        prior: Mapping[str, Any],
        summary: str | None = None,
        columns: Sequence[str] | None = None,
        processes: int = 0,
        seconds: float = 60.0,
        most_failed: float = 0.05,
    ) -> None:
        if isinstance(processes, bool) or processes < 0:
            raise SettingError("model.processes", processes, "must be a whole number, 0 or more")
        if not seconds > 0:
            raise SettingError("model.seconds", seconds, "must be positive")
        if not 0 <= most_failed < 1:
            raise SettingError("model.most_failed", most_failed, "must be from 0 to below 1")
        self.simulate, self.prior = simulate, Prior.of(prior)
        self.columns = list(columns) if columns else None
        self.most_failed = most_failed
        self.caller: Caller = caller_of(simulate, processes, seconds, SIMULATE)
        self.summary = own_function(summary, "model.summary") if summary else None
        sources = [source_of(text) for text in (simulate, summary) if text]
        self.identity = " ".join([repr(self.prior), *sources])
        self.calls, self.units, self.failures = 0, 0, 0
        self.n_columns, self.n_statistics = self._tried()

    def statistics(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Summary statistics (n, S) of units (n, C).

        Raises:
            SettingError: the user's function fails or gives something else.
        """
        if self.summary is None:
            return x
        setting, name = "model.summary", getattr(self.summary, "__name__", "summary")
        try:
            found = np.asarray(self.summary(x.copy()), dtype=float)
        except Exception as error:  # a user's code may raise anything
            fault = f"fails on data of shape {x.shape} ({type(error).__name__}: {error})"
            raise SettingError(setting, name, fault) from error
        if found.ndim != 2 or len(found) != len(x) or not found.shape[1]:
            fault = f"must give shape ({len(x)}, S), one row a unit, not {found.shape}"
            raise SettingError(setting, name, fault)
        return found

    def each(
        self, theta: Tensor, n: int, seeds: Sequence[int]
    ) -> Iterator[NDArray[np.float64] | None]:
        """Statistics (n, S) at each θ (k, P), in order; None where the call failed.

        Raises:
            SettingError: more than `most_failed` of all calls have failed, or data of another
                shape; names the last θ and what was wrong there.
        """
        for one, given in zip(theta, self.caller.each(self._points(theta, n, seeds)), strict=True):
            self.calls += 1
            self.units += n
            x, fault = self._usable(given, n, one)
            if fault:
                self._count(fault, one)
            yield x

    def one(self, theta: Tensor, n: int, seed: int) -> NDArray[np.float64]:
        """Statistics (n, S) of a data set of n units at one θ (1, P).

        Raises:
            SettingError: as `each`, or the call failed.
        """
        (found,) = self.each(theta, n, [seed])
        if found is None:
            raise self._refusal("gave no data, where each θ needs some", theta[0])
        return found

    def data(self, theta: Tensor, n: int, seeds: Sequence[int]) -> NDArray[np.float64]:
        """Mean statistics of n units at each θ (k, P), shape (k, S).

        Raises:
            SettingError: as `each`, or any call failed.
        """
        means = []
        for one, found in zip(theta, self.each(theta, n, seeds), strict=True):
            if found is None:
                raise self._refusal("gave no data, where each θ needs some", one)
            means.append(found.mean(0))
        return np.stack(means)

    def _points(self, theta: Tensor, n: int, seeds: Sequence[int]) -> list[Point]:
        named = [dict(zip(self.prior.names, row, strict=True)) for row in theta.tolist()]
        return [Point(row, n, seed) for row, seed in zip(named, seeds, strict=True)]

    def _usable(self, given: Any, n: int, theta: Tensor) -> tuple[NDArray[np.float64] | None, str]:
        """Statistics of what a call gave, or None and why it counts as failed."""
        if isinstance(given, CallError):
            return None, str(given)
        x = as_units(given, n)
        if isinstance(x, str):
            raise self._refusal(x, theta)
        if hasattr(self, "n_columns") and x.shape[1] != self.n_columns:
            raise self._refusal(f"gave {x.shape[1]} columns, and {self.n_columns} before", theta)
        if not np.isfinite(x).all():
            bad = int((~np.isfinite(x)).any(1).sum())
            return None, f"gave NaN or infinite data in {bad} of {n} units"
        statistics = self.statistics(x)
        if not np.isfinite(statistics).all():
            return None, "gave data whose summary is NaN or infinite"
        return statistics, ""

    def _count(self, fault: str, theta: Tensor) -> None:
        self.failures += 1
        if self.calls >= FEWEST and self.failures > self.most_failed * self.calls:
            share = f"{self.failures} of {self.calls} calls failed, model.most_failed is"
            raise self._refusal(f"{share} {self.most_failed:g}; the last one {fault}", theta)

    def _refusal(self, fault: str, theta: Tensor) -> SettingError:
        return SettingError(SIMULATE, self.simulate, f"at {self.prior.told(theta)} it {fault}")

    def _tried(self) -> tuple[int, int]:
        """Columns and statistics of a call at the prior's middle, made twice for one seed."""
        middle = self.prior.of_latent(torch.zeros(2, max(len(self.prior), 2)))
        found = []
        for given in self.caller.each(self._points(middle, TRIED, [1, 1])):
            x = str(given) if isinstance(given, CallError) else as_units(given, TRIED)
            if isinstance(x, str):
                raise self._refusal(x, middle[0])
            found.append(x)
        x, again = found
        if not np.array_equal(x, again, equal_nan=True):
            fault = "gives other data when asked twice with one seed: take all noise from the seed"
            raise self._refusal(fault, middle[0])
        if self.columns and len(self.columns) != x.shape[1]:
            fault = f"must name the {x.shape[1]} columns that the simulator gives"
            raise SettingError("model.columns", self.columns, fault)
        statistics = self.statistics(x)
        return x.shape[1], statistics.shape[1]


def prior_draws(prior: Prior, n: int, seed: int, *purpose: object) -> Tensor:
    """θ (n, P) of the prior, in double precision."""
    generator = derived_generator(seed, *purpose)
    return prior.of_latent(torch.randn(n, len(prior), generator=generator, dtype=torch.double))
