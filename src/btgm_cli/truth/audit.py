"""Anyone's draws held against the exact tilt: what differs, and by how much.

The draws need no density. `truth.audit_verdict` makes a verdict of the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.latent_criterion import LatentCriterion, draw_x
from btgm_cli.core.results import Reference
from btgm_cli.core.seeds import derived_generator
from btgm_cli.tilt.estimates import (
    effective_sample_size,
    kl_gap,
    moments_of_draws,
    pareto_k,
)
from btgm_cli.truth.references import worth
from btgm_cli.truth.sides import Side, moments_of, places_of
from btgm_cli.truth.two_sample import (
    Array,
    Comparison,
    HeldOut,
    classifier_test,
    distribution_test,
    mean_test,
    missed,
    neighbours,
    quadratic,
    shares_test,
)

N_REFERENCE = 10_000
"""Draws of the tilt that the draws are held against."""

MOST_DRAWS = 10_000
"""Draws that classifiers look at, chosen at random; mean, shares and repeats rest on all."""

MOST_NEIGHBOURLY = 2000
"""Of each side, where nearest neighbours are looked for: their cost is its square."""


@dataclass(frozen=True)
class Draws:
    """What is audited: z (n, D), or x (n, *X) alone, and log q̂ (n,) of z where it is known."""

    z: Tensor | None
    x: Tensor | None = None
    log_q: Tensor | None = None


@dataclass(frozen=True)
class Weights:
    """What log q̂ adds: `kl_gap` in nats, and what the weights p e^{βf} / q̂ are like."""

    kl_gap: float
    kl_gap_se: float
    ess_fraction: float
    pareto_k: float


@dataclass(frozen=True)
class AuditFigures:
    """What is measured of draws, beside the exact tilt.

    Args:
        n: rows.
        n_distinct: rows that differ.
        n_effective: independent draws that they are worth, repeats considered.
        largest_share: share of the rows that one draw takes.
        mean_f: E f of the draws, in the criterion's unit.
        mean_f_se: its error.
        reference: the exact tilt, as well as it is known.
        n_compare: independent draws of the tilt that they were held against.
        coverage: share of the tilt that the draws do not miss; they miss a region where they are
            five times as rare.
        coverage_se: its error.
        precision: share of the draws that is not where the tilt is five times as rare.
        precision_se: its error.
        class_shares: of the draws, where the criterion knows classes.
        class_shares_ref: of the tilt.
        comparisons: all tests.
        weights: where log q̂ was given.
    """

    n: int
    n_distinct: int
    n_effective: float
    largest_share: float
    mean_f: float
    mean_f_se: float
    reference: Reference
    n_compare: float
    coverage: float
    coverage_se: float
    precision: float
    precision_se: float
    class_shares: tuple[float, ...]
    class_shares_ref: tuple[float, ...]
    comparisons: tuple[Comparison, ...]
    weights: Weights | None


@dataclass(frozen=True)
class Pictured:
    """What the picture shows: f, and scores of the classifier that tells most.

    The higher a score, the more like the tilt. Shapes (n,) for the draws, (m,) for the tilt's.
    """

    f: Array
    f_ref: Array
    score: Array
    score_ref: Array


def examine_draws(
    draws: Draws, f: LatentCriterion, beta: float, reference: ReferenceSource, seed: int
) -> tuple[AuditFigures, Pictured]:
    """Hold draws against the tilt at β.

    Args:
        draws: of whatever is to be judged, where the model is.
        f: the latent criterion f̂.
        beta: the tilt.
        reference: the exact tilt.
        seed: of everything random.
    """
    exact = reference.at(beta)
    own, tilt = _sides(draws, f, beta, reference, seed)
    told = _told_apart(own, tilt, seed)
    best = min(told, key=lambda held_out: held_out.test.p)
    lost, stray = missed(best)
    n, m = own.rows.effective, tilt.rows.effective
    figures = AuditFigures(
        n=len(own.f),
        n_distinct=own.rows.distinct,
        n_effective=n,
        largest_share=own.rows.largest_share,
        mean_f=float(own.f.mean()),
        mean_f_se=float(own.f.std()) / math.sqrt(n),
        reference=exact,
        n_compare=m,
        coverage=1 - lost,
        coverage_se=math.sqrt(lost * (1 - lost) / m),
        precision=1 - stray,
        precision_se=math.sqrt(stray * (1 - stray) / n),
        class_shares=own.shares,
        class_shares_ref=tilt.shares,
        comparisons=(*_of_values(own, tilt, exact, f), *(item.test for item in told)),
        weights=None if draws.log_q is None else _weights(own, draws.log_q, beta, exact),
    )
    return figures, Pictured(own.f, tilt.f, best.draws, best.reference)


def _sides(
    draws: Draws, f: LatentCriterion, beta: float, reference: ReferenceSource, seed: int
) -> tuple[Side, Side]:
    """The draws, and as many of the tilt as there are to be had."""
    rows = draws.z if draws.z is not None else draws.x
    assert rows is not None
    generator = derived_generator(seed, "audit", device=rows.device)
    independent = worth(reference.at(beta))
    tilt = reference.particles(beta, N_REFERENCE, generator).z
    if draws.z is not None:
        return Side.of_z(draws.z, f), Side.of_z(tilt, f, independent)
    # Each repeat of a z has the same x.
    return Side.of_x(rows, f), Side.of_x(draw_x(f.model, tilt, generator), f, independent)


def _of_values(own: Side, tilt: Side, exact: Reference, f: LatentCriterion) -> list[Comparison]:
    """Tests of f, of log p and of the classes' shares."""
    n, m = own.rows.effective, tilt.rows.effective
    found = [distribution_test("distribution_f", own.f, tilt.f, n, m)]
    if own.log_p is not None and tilt.log_p is not None:
        found.append(distribution_test("distribution_log_p", own.log_p, tilt.log_p, n, m))
    if own.log_p is not None or not f.is_stochastic:
        std = math.sqrt(max(exact.var, 0.0))
        found.insert(0, mean_test(own.f, exact.mean, exact.mean_se, std, n))
    if own.shares:
        found.append(shares_test(own.shares, tilt.shares, n, m))
    return found


def _told_apart(own: Side, tilt: Side, seed: int) -> list[HeldOut]:
    """Two classifiers: of moments, and of nearest neighbours."""
    generator = derived_generator(seed, "audit folds")
    a, b = own.some(MOST_DRAWS, generator), tilt.some(MOST_DRAWS, generator)
    left, right = moments_of(a, b)
    moments = classifier_test(
        "c2st_moments", quadratic, (left, a.rows), (right, b.rows), generator
    )
    a, b = own.some(MOST_NEIGHBOURLY, generator), tilt.some(MOST_NEIGHBOURLY, generator)
    left, right = places_of(a, b)
    near = classifier_test(
        "c2st_neighbours", neighbours, (left, a.rows), (right, b.rows), generator
    )
    return [moments, near]


def _weights(own: Side, log_q: Tensor, beta: float, exact: Reference) -> Weights:
    """What the weights tell, of draws z."""
    assert own.log_p is not None
    f, log_p = torch.from_numpy(own.f), torch.from_numpy(own.log_p)
    log_ratio = log_q.double().cpu() - log_p
    gap, error = kl_gap(moments_of_draws(beta, f, log_ratio), exact)
    log_w = beta * f - log_ratio
    return Weights(gap, error, effective_sample_size(log_w) / len(f), pareto_k(log_w))
