"""Posteriors against truths: how often intervals cover, and whether ranks are uniform.

Where θ is drawn from p and data from θ, the truth's rank among draws of the posterior is uniform
(Talts, Betancourt, Simpson, Vehtari & Gelman, *Validating Bayesian Inference Algorithms with
Simulation-Based Calibration*, 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kstest

LEVEL = 0.9
"""Of the intervals, central."""

SURE = 0.99
"""How often a right posterior has a count within its bounds, for each parameter."""

LEAST_P = 0.005
"""Of the ranks' Kolmogorov–Smirnov test."""


@dataclass(frozen=True)
class Coverage:
    """How often one parameter's truth was covered.

    Args:
        parameter: its name.
        n: data sets.
        inside: truths within the central 90 % interval.
        low: fewest that are as they should be.
        high: most.
        p: of the test that ranks are uniform.
        doubted: data sets whose fit told itself that it is off.
    """

    parameter: str
    n: int
    inside: int
    low: int
    high: int
    p: float
    doubted: int


def covered(parameter: str, ranks: Sequence[float], doubts: Sequence[str]) -> Coverage:
    """Count.

    Args:
        parameter: its name.
        ranks: share of the posterior's draws below the truth, one a data set.
        doubts: why a fit is off; empty where it is not.
    """
    found, n = np.asarray(ranks, dtype=float), len(ranks)
    inside = int((np.abs(found - 0.5) <= LEVEL / 2).sum())
    low, high = counts(n, LEVEL)
    p = float(kstest(found, "uniform").pvalue)
    return Coverage(parameter, n, inside, low, high, p, sum(map(bool, doubts)))


def counts(n: int, share: float) -> tuple[int, int]:
    """Fewest and most of n that have what each has with this probability, `SURE` of the time."""
    each = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    below = np.cumsum(each)
    tail = (1 - SURE) / 2
    return int(np.searchsorted(below, tail)), int(np.searchsorted(below, 1 - tail))


def status_of(each: Sequence[Coverage]) -> tuple[str, str]:
    """`ok`, or what is wrong and of which parameter, in words."""
    for one in each:
        if one.inside < one.low:
            return "overconfident", f"{one.parameter} is covered in {one.inside} of {one.n}"
        if one.inside > one.high:
            return "underconfident", f"{one.parameter} is covered in {one.inside} of {one.n}"
    for one in each:
        if one.p < LEAST_P:
            return (
                "miscalibrated",
                f"the ranks of {one.parameter} are not uniform, p = {one.p:.1g}",
            )
    return "ok", ""
