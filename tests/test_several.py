"""Several targets at once, on tilts of a Gaussian by linear criteria, whose multipliers are known.

With fᵢ = aᵢ·z the tilt is N(Σ λᵢ aᵢ, I): E f = G λ with the Gram matrix G, and KL = λᵀ G λ / 2.
"""

import re

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.combined.criteria import WeightedSum
from btgm_cli.tilt.multipliers import solve
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuning import Problem, Tuning, tune
from btgm_cli.tuning.contradiction import find_contradiction
from btgm_cli.tuning.feasibility import Bound
from tests.test_tuning import KilledError, MemoryJournal

DIM = 3
FIRST, SLANTED = [1.0, 0.0, 0.0], [0.6, 0.8, 0.0]
GRAM = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.double)
Z = torch.randn(100_000, DIM, generator=derived_generator(1), dtype=torch.double)
F = torch.stack([Z @ torch.tensor(a, dtype=torch.double) for a in (FIRST, SLANTED)], -1)

pytestmark = pytest.mark.usefixtures("brief_lessons")


def two():
    return WeightedSum({"a": Linear(FIRST), "b": Linear(SLANTED)}, {"a": 1.0, "b": 1.0})


def run(at_least, criterion=None, journal=None, **choices):
    flow = InverseAutoregressive(DIM, depth=2, hidden=[32])
    quick = Tuning(
        **{
            "first_steps": 250,
            "steps": 120,
            "n_eval": 4000,
            "n_reference": 20_000,
            "min_acceptance_rate": 1.0,
            "learning_rate": 4e-3,
            **choices,
        }
    )
    criterion = criterion or two()
    target = Target(at_least=at_least)
    return tune(
        Gaussian(DIM), criterion, target=target, flow=flow, settings=quick, journal=journal
    )


@pytest.mark.parametrize("wish", [(0.5, 0.5), (0.9, 0.6), (0.2, 0.8)])
def test_multipliers_are_those_of_the_closed_form(wish):
    goal = torch.tensor(wish, dtype=torch.double)
    exact = torch.linalg.solve(GRAM, goal)
    expected = exact if (exact >= 0).all() else torch.tensor([0.0, wish[1]], dtype=torch.double)
    found = solve(F, goal, torch.zeros(2))
    # The draws' own mean is off by 1/√n, and G⁻¹ carries that over; weights leave fewer draws.
    assert (found - expected).abs().max() <= 4 * 2.5 / len(F) ** 0.5 * 2


def test_what_the_other_wish_grants_already_costs_nothing():
    found = solve(F, torch.tensor([1.0, 0.1]), torch.zeros(2))
    assert found[1] == 0
    assert abs(found[0] - 1.0) <= 0.03


def test_a_multiplier_that_was_too_large_comes_down_to_zero():
    """From the tilt at λ = (1, 1), whose draws are shifted by a + b."""
    shifted = F + GRAM.sum(0)
    found = solve(shifted, torch.tensor([1.0, 0.1]), torch.ones(2))
    assert found[1] == 0
    assert abs(found[0] - 1.0) <= 0.05


@settings(max_examples=30, deadline=None)
@example(1.125, 1.1875)
@given(st.floats(-1, 1.2), st.floats(-1, 1.2))
def test_wishes_are_granted_by_as_little_as_they_need(a, b):
    goal = torch.tensor([a, b], dtype=torch.double)
    found = solve(F, goal, torch.zeros(2))
    mean = torch.softmax(F @ found, 0) @ F
    assert (found >= 0).all()
    assert (mean >= goal - 1e-6).all()
    assert ((found < 1e-9) | ((mean - goal).abs() < 1e-6)).all()


def test_out_of_sight_is_a_step_on_the_way():
    found = solve(F, torch.tensor([8.0, 8.0]), torch.zeros(2))
    weights = torch.softmax(F @ found, 0)
    assert torch.isfinite(found).all()
    assert found.max() > 0.5
    assert 1 / weights.square().sum() >= 0.02 * len(F) * 0.999


def test_out_of_sight_at_the_first_step_is_a_shorter_one():
    """A criterion with so long a tail that one deviation's step leaves a single draw."""
    heavy = torch.exp(3 * F[:, :1])
    assert torch.softmax(heavy / heavy.std(), 0).max() > 0.9
    found = solve(heavy, 2 * heavy.mean(0), torch.zeros(1))
    weights = torch.softmax(heavy @ found, 0)
    assert found > 0
    assert 1 / weights.square().sum() >= 0.02 * len(F) * 0.999


def test_units_do_not_matter():
    goal = torch.tensor([0.5, 0.6], dtype=torch.double)
    unit, origin = torch.tensor([1e-3, 1e5]).double(), torch.tensor([1e4, -1e7]).double()
    found = solve(F * unit + origin, goal * unit + origin, torch.zeros(2))
    assert torch.allclose(found * unit, solve(F, goal, torch.zeros(2)), atol=1e-6)


def test_criteria_that_are_nearly_alike_are_told_apart():
    """Correlated by 0.9995: the draws' own tilt at known multipliers is found again."""
    alike = torch.stack([F[:, 0], F[:, 0] + 0.03 * F[:, 1]], -1)
    exact = torch.tensor([0.4, 0.2], dtype=torch.double)
    goal = torch.softmax(alike @ exact, 0) @ alike
    assert (solve(alike, goal, torch.zeros(2)) - exact).abs().max() < 1e-4


def test_two_wishes_are_met_at_once_with_the_least_divergence():
    result = run({"a": 0.9, "b": 0.8})
    assert result.status is Status.OK
    row = result.trace[-1]
    for name, wish in (("a", 0.9), ("b", 0.8)):
        assert abs(row[f"mean_{name}"] - wish) <= max(0.01 * wish, 2 * row[f"mean_{name}_se"])
    exact = torch.linalg.solve(GRAM, torch.tensor([0.9, 0.8], dtype=torch.double))
    found = torch.tensor([row["multiplier_a"], row["multiplier_b"]], dtype=torch.double)
    assert (found - exact).abs().max() < 0.1
    last = result.points[-1]
    best = 0.5 * exact @ GRAM @ exact
    assert abs(last.figures.moments.kl - best) <= 4 * last.figures.moments.kl_se + 0.03
    assert last.weights == pytest.approx(tuple((found / found.sum()).tolist()), rel=1e-2)


@pytest.mark.slow
def test_one_is_held_while_another_is_pushed():
    """Pushing −a alone would take b down with it: b is held where p has it."""
    wishes = WeightedSum({"a": Linear([-1.0, 0, 0]), "b": Linear(SLANTED)}, {"a": 1, "b": 1})
    result = run({"a": 0.8, "b": 0.0}, wishes)
    assert result.status is Status.OK
    row = result.trace[-1]
    assert abs(row["mean_b"]) <= max(0.01, 2 * row["mean_b_se"])
    assert row["multiplier_b"] > 0.3


SHORT = {"first_steps": 90, "steps": 40, "checkpoint_every": 25, "n_eval": 1000, "max_updates": 3}


@pytest.fixture(scope="module")
def unbroken():
    """The trace of a run that nothing kills."""
    return run({"a": 0.9, "b": 0.8}, **SHORT).trace


@pytest.mark.slow
@pytest.mark.parametrize("events", [1, 2, 4])
def test_a_killed_search_goes_on_to_the_same_numbers(events, unbroken):
    journal = MemoryJournal(events)
    with pytest.raises(KilledError):
        run({"a": 0.9, "b": 0.8}, journal=journal, **SHORT)
    journal.events = 10**9
    assert run({"a": 0.9, "b": 0.8}, journal=journal, **SHORT).trace == unbroken


def test_wishes_that_p_grants_already_leave_it_as_it_is():
    result = run({"a": -0.5, "b": -1.0})
    assert result.status is Status.OK
    assert result.beta == 0


def test_a_wish_beyond_the_maximum_is_told_with_the_largest_that_can_be_met():
    criterion = WeightedSum(
        {"s": lambda x: torch.sigmoid(4 * x[:, 0]), "b": Linear()}, {"s": 1, "b": 1}
    )
    result = run({"s": 1.2, "b": 0.0}, criterion)
    assert result.status is Status.INFEASIBLE
    assert "E s of at least 1.2 cannot be met" in result.message
    assert result.remedy.startswith("target.at_least={s:0.9")


class Counted:
    """A criterion that counts the x that it was asked for."""

    def __init__(self, f):
        self.f, self.count = f, 0

    def __call__(self, x):
        self.count += len(x)
        return self.f(x)


def opposed(a, b):
    """Wishes for a·z and −a·z: their sum is 0 on every draw."""
    terms = {"a": Linear(FIRST), "b": Linear([-1.0, 0, 0])}
    return run({"a": a, "b": b}, WeightedSum(terms, {"a": 1, "b": 2}))


def test_wishes_that_contradict_each_other_are_named():
    result = opposed(0.5, 0.5)
    assert result.status is Status.INFEASIBLE
    assert len(result.points) == 1
    assert "E a of at least 0.5 and E b of at least 0.5 cannot be met together" in result.message
    assert "a + 1 b would have a mean of 1, the largest reached is" in result.message
    assert result.remedy.startswith("target.at_least={")


def shares(k):
    """One of three classes, with a fourth for none: the three have at most 1 together."""
    directions = torch.tensor(
        [[1.0, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0], [0] * 3]
    )
    return lambda x: torch.softmax(3 * x @ directions.T, -1)[:, k]


@pytest.mark.slow
def test_a_contradiction_that_no_single_wish_shows_is_named():
    terms = {name: shares(k) for k, name in enumerate("abc")}
    result = run(dict.fromkeys(terms, 0.4), WeightedSum(terms, {"a": 1, "b": 2, "c": 3}))
    assert result.status is Status.INFEASIBLE
    assert (
        "and E b of at least 0.4 and E c of at least 0.4 cannot be met together" in result.message
    )
    found = [float(value) for value in re.findall(r":([\d.]+)", result.remedy)]
    assert 0.8 < sum(found) < 1
    less = dict(zip(terms, found, strict=True))
    draws = WeightedSum(terms, less).parts(Z[:20_000].float())
    assert find_contradiction(draws, less, lambda w, asked: Bound(0.0, 1.0)) is None


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.9, 2.0), st.floats(-0.9, 2.0))
@pytest.mark.slow
def test_two_means_contradict_each_other_where_their_sum_cannot_be(a, b):
    """Of tanh(z₀) and −tanh(z₀): every mean in (−1, 1) can be, but not both above 0."""
    f = torch.tanh(3 * Z[:20_000, :1]) * torch.tensor([1.0, -1.0], dtype=torch.double)
    found = find_contradiction(f, {"a": a, "b": b}, lambda w, asked: Bound(asked - 1e-9, 1.0))
    feasible = max(a, b) < 1 - 1e-3 and a + b <= -1e-3
    hopeless = max(a, b) > 1 + 1e-3 or a + b >= 1e-3
    assert feasible <= (found is None)
    assert hopeless <= (found is not None)


def test_every_evaluation_is_counted_and_none_is_made_twice():
    terms = {"a": Counted(Linear(FIRST)), "b": Counted(Linear(SLANTED))}
    criterion = WeightedSum(terms, {"a": 1.0, "b": 1.0})
    short = {"first_steps": 20, "steps": 10, "n_eval": 500, "n_reference": 2000}
    result = run({"a": 0.5, "b": 0.45}, criterion, max_updates=2, **short)
    made = terms["a"].count
    assert made == terms["b"].count
    Problem.checked(Gaussian(DIM), criterion)
    tried = terms["a"].count - made  # a look at the pair before any work
    assert 0 < tried < 2000
    assert made == result.f_evals + tried


@pytest.mark.slow
def test_too_few_passes_are_a_status_with_a_remedy():
    result = run({"a": 2.5, "b": 2.5}, max_updates=1)
    assert result.status is not Status.OK
    assert "tuning." in result.remedy


@pytest.mark.parametrize(
    ("criterion", "at_least", "fault"),
    [
        (Linear(), {"a": 1.0}, "Linear has no terms"),
        (two(), {"a": 1.0}, "must give a mean for each of a, b"),
        (two(), {"a": 1.0, "c": 1.0}, "must give a mean for each of a, b"),
    ],
)
def test_wishes_without_a_term_are_refused(criterion, at_least, fault):
    with pytest.raises(SettingError, match=fault):
        run(at_least, criterion)


def test_wishes_must_be_numbers():
    with pytest.raises(SettingError, match=r"target\.at_least\.a"):
        Target(at_least={"a": float("nan")})
