"""The second-order search on analytic curves, with no flow in sight."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btgm_cli.core.errors import SettingError
from btgm_cli.domains.analytic.criteria import Linear, Quadratic
from btgm_cli.tilt.search import LARGEST_FACTOR, Goal, Quantity, init, update
from tests.oracle import moments_of


def solve(goal, moments_at, most=12):
    """Follow the search on exact moments; returns its last state."""
    search = init(goal, moments_at(0.0))
    while not search.converged and search.updates < most:
        search = update(search, moments_at(search.beta))
    return search


def tilts(criterion, dim=8):
    return lambda beta: moments_of(criterion.gaussian_tilt(beta, dim))


@settings(max_examples=200, deadline=None)
@given(
    criterion=st.one_of(st.just(Linear()), st.floats(0.01, 100).map(Quadratic)),
    budget=st.floats(0.01, 9.3),  # up to the top 1 in 10,000
    dim=st.integers(2, 128),
)
def test_any_kl_budget_is_met_within_1_percent_in_five_updates(criterion, budget, dim):
    search = solve(Goal(Quantity.KL, budget), tilts(criterion, dim))
    assert search.converged
    assert search.updates <= 5
    assert criterion.gaussian_tilt(search.beta, dim).kl == pytest.approx(budget, rel=0.01)


@settings(max_examples=200, deadline=None)
@given(
    criterion=st.one_of(st.just(Linear()), st.floats(0.01, 100).map(Quadratic)),
    true_beta=st.floats(0.05, 5),
    dim=st.integers(2, 128),
)
def test_any_reachable_mean_is_met_within_1_percent_of_the_way_in_five_updates(
    criterion, true_beta, dim
):
    prior = criterion.gaussian_tilt(0.0, dim)
    true = criterion.gaussian_tilt(true_beta / math.sqrt(prior.var), dim)
    goal = Goal(Quantity.MEAN, true.mean)
    search = solve(goal, tilts(criterion, dim))
    assert search.converged
    assert search.updates <= 5
    reached = criterion.gaussian_tilt(search.beta, dim).mean
    assert abs(reached - goal.value) <= 0.01 * abs(goal.value - prior.mean)


def test_the_first_step_is_the_second_order_one_where_newton_divides_by_zero():
    search = init(Goal(Quantity.KL, 2.0), tilts(Linear())(0.0))
    assert search.beta == pytest.approx(math.sqrt(2 * 2.0 / 1.0))


def test_plain_newton_would_leap_but_the_step_is_capped():
    """From β = 0.01 towards KL = 2, Newton on K goes to β = 200 in the linear case."""
    goal, at = Goal(Quantity.KL, 2.0), tilts(Linear())
    search = update(replace(init(goal, at(0.0)), beta=0.01), at(0.01))
    assert search.beta <= 0.01 * LARGEST_FACTOR + 1e-12
    assert search.lower == pytest.approx(0.01, rel=0.06)


def test_the_bracket_holds_against_moments_that_mislead():
    """A curvature of the wrong sign sends the model astray; bisection still closes in."""

    def misled(beta):
        return replace(tilts(Linear())(beta), m3=-50.0, var=0.02)

    goal = Goal(Quantity.KL, 2.0)
    search = replace(init(goal, tilts(Linear())(0.0)), beta=0.5)
    visited = []
    for _ in range(40):
        visited.append(search.beta)
        search = update(search, misled(search.beta))
        if search.converged:
            break
        assert search.lower <= search.beta <= search.upper
    assert search.converged
    assert visited[-1] == pytest.approx(2.0, rel=0.01)


def test_stopping_knows_the_monte_carlo_error():
    goal = Goal(Quantity.KL, 2.0, tolerance=1e-6)
    at_half = replace(tilts(Linear())(1.9), kl_se=0.15)
    assert update(replace(init(goal, tilts(Linear())(0.0)), beta=1.9), at_half).converged
    sharp = replace(at_half, kl_se=0.01)
    assert not update(replace(init(goal, tilts(Linear())(0.0)), beta=1.9), sharp).converged


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_moments_that_are_not_finite_do_not_carry_into_beta(value):
    goal = Goal(Quantity.KL, 2.0)
    search = init(goal, tilts(Linear())(0.0))
    broken = replace(tilts(Linear())(search.beta), kl=1.0, m3=value)
    assert math.isfinite(update(search, broken).beta)


def test_a_mean_that_the_prior_already_has_needs_no_tilt():
    search = init(Goal(Quantity.MEAN, -0.5), tilts(Linear())(0.0))
    assert search.converged
    assert search.beta == 0.0


def test_a_constant_criterion_is_refused():
    flat = replace(tilts(Linear())(0.0), var=0.0)
    with pytest.raises(SettingError, match="variance under p is 0"):
        init(Goal(Quantity.KL, 1.0), flat)
