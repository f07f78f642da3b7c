"""An emulator: mean and covariance of a simulator's summary statistics as functions of θ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from btgm_cli.domains.simulators.gaussian_process import Processes, fitted, fitted_alike
from btgm_cli.domains.simulators.priors import Prior
from btgm_cli.domains.simulators.simulator import Moments

LEAST_VARIANCE = 1e-12
"""Of a statistic, in units of its largest: one that never varies says nothing of its noise."""


@dataclass(frozen=True)
class Simulations:
    """What was simulated: k places with n units each.

    Args:
        u: θ on scales of order one, shape (k, P).
        mean: of the statistics, shape (k, S).
        covariance: of the statistics of one unit, shape (k, S, S).
        n: units at each, shape (k,).
    """

    u: Tensor
    mean: Tensor
    covariance: Tensor
    n: Tensor

    @classmethod
    def of(cls, prior: Prior, theta: Tensor, moments: Sequence[Moments | None]) -> Simulations:
        """Of calls at each θ (k, P); places whose call failed are left out."""
        good = [k for k, found in enumerate(moments) if found is not None]
        known = [found for found in moments if found is not None]
        return cls(
            prior.scaled(theta[good]),
            torch.from_numpy(np.stack([m.mean for m in known])),
            torch.from_numpy(np.stack([m.covariance for m in known])),
            torch.tensor([m.n for m in known]),
        )

    def __add__(self, other: Simulations) -> Simulations:
        """Both."""
        pairs = zip(self.parts, other.parts, strict=True)
        return Simulations(*(torch.cat(pair) for pair in pairs))

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All arrays, in order."""
        return self.u, self.mean, self.covariance, self.n


@dataclass(frozen=True)
class Emulator:
    """Statistics of one unit at θ: mean, with the variance of its error, and covariance.

    Statistics are first turned so that they are of variance one and uncorrelated where the
    observed ones lie; the covariance elsewhere is that of L D Lᵀ. Beyond the box of all places
    both are those at its nearest side: an error that grows without end would explain any data.

    Args:
        turn: W, shape (S, S).
        means: of W s.
        logs: of log D and of the entries of L below its diagonal.
    """

    turn: Tensor
    means: Processes
    logs: Processes

    @classmethod
    def of(cls, seen: Simulations, near: Tensor) -> Emulator:
        """The emulator of simulations.

        Args:
            seen: the simulations.
            near: weights of the simulations, shape (k,): large where the covariance should be one.
        """
        total = (near[:, None, None] * seen.covariance).sum(0) / near.sum()
        largest = total.diagonal().max().clamp(min=1e-300)
        total = total + LEAST_VARIANCE * largest * torch.eye(len(total)).to(total)
        turn = torch.linalg.inv(torch.linalg.cholesky(total))
        mean, covariance = seen.mean @ turn.T, turn @ seen.covariance @ turn.T
        n = seen.n.to(mean)
        logs = fitted_alike(seen.u, _entries(covariance), 2 / n)
        smooth = _of_entries(logs.mean(seen.u), mean.shape[1])
        errors = smooth.diagonal(dim1=1, dim2=2) / n[:, None]
        return cls(turn, fitted(seen.u, mean, errors), logs)

    def log_likelihood(self, u: Tensor, observed: Tensor, size: int) -> Tensor:
        """log N of observed mean statistics (S,) of so many units, nats, shape (n,), at u (n, P).

        What the emulator may be wrong by widens it.
        """
        white, factor = self._white(u, observed, size)
        log_volume = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        log_turn = self.turn.diagonal().log().sum()
        normal = 0.5 * white.shape[1] * math.log(2 * math.pi)
        log_p: Tensor = log_turn - 0.5 * white.square().sum(1) - log_volume - normal
        return log_p

    def chi2(self, u: Tensor, observed: Tensor, size: int) -> Tensor:
        """Square of the standardized distance of observed statistics (S,), shape (n,)."""
        return self._white(u, observed, size)[0].square().sum(1)

    def _white(self, u: Tensor, observed: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Distances of observed statistics, standardized, (n, S), and by what (n, S, S)."""
        u = self.means.inside(u)
        mean, error = self.means.mean_and_var(u)
        of_unit = _of_entries(self.logs.mean(u), mean.shape[1])
        factor = torch.linalg.cholesky(of_unit / size + torch.diag_embed(error))
        away = (self.turn @ observed - mean)[..., None]
        return torch.linalg.solve_triangular(factor, away, upper=False)[..., 0], factor

    def widening(self, u: Tensor, size: int) -> float:
        """Share that the emulator's error has of the variance of statistics at u (n, P).

        Of the mean statistics of so many units, of the statistic for which it is largest.
        """
        u = self.means.inside(u)
        _, error = self.means.mean_and_var(u)
        own = _of_entries(self.logs.mean(u), error.shape[1]).diagonal(dim1=1, dim2=2) / size
        return (error / (error + own)).mean(0).max().item()


def _entries(covariance: Tensor) -> Tensor:
    """log D and L below the diagonal, of L D Lᵀ (k, S, S): shape (k, S (S + 1) / 2)."""
    S = covariance.shape[1]
    tiny = LEAST_VARIANCE * torch.eye(S).to(covariance)
    factor = torch.linalg.cholesky(covariance + tiny)
    diagonal = factor.diagonal(dim1=1, dim2=2)
    below = torch.tril_indices(S, S, -1)
    unit = factor / diagonal[:, None, :]
    return torch.cat([2 * diagonal.log(), unit[:, below[0], below[1]]], 1)


def _of_entries(entries: Tensor, S: int) -> Tensor:
    """The covariance (n, S, S) of its entries."""
    below = torch.tril_indices(S, S, -1)
    unit = torch.eye(S).to(entries).expand(len(entries), S, S).clone()
    unit[:, below[0], below[1]] = entries[:, S:]
    variance = entries[:, :S].clamp(-60, 60).exp()
    covariance: Tensor = unit * variance[:, None, :] @ unit.mT
    return covariance
