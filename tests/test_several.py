"""Several targets at once, on tilts of a Gaussian by linear criteria, whose multipliers are known.

With fᵢ = aᵢ·z the tilt is N(Σ λᵢ aᵢ, I): E f = G λ with the Gram matrix G, and KL = λᵀ G λ / 2.
"""

import pytest
import torch
from hypothesis import given, settings
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
from btgm_cli.tuning import Tuning, tune
from tests.test_tuning import KilledError, MemoryJournal

DIM = 3
FIRST, SLANTED = [1.0, 0.0, 0.0], [0.6, 0.8, 0.0]
GRAM = torch.tensor([[1.0, 0.6], [0.6, 1.0]], dtype=torch.double)
Z = torch.randn(100_000, DIM, generator=derived_generator(1), dtype=torch.double)
F = torch.stack([Z @ torch.tensor(a, dtype=torch.double) for a in (FIRST, SLANTED)], -1)


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
            "acceptance": 1.0,
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
    assert abs(last.moments.kl - best) <= 4 * last.moments.kl_se + 0.03
    assert last.weights == pytest.approx(tuple((found / found.sum()).tolist()), rel=1e-2)


def test_one_is_held_while_another_is_pushed():
    """Pushing −a alone would take b down with it: b is held where p has it."""
    wishes = WeightedSum({"a": Linear([-1.0, 0, 0]), "b": Linear(SLANTED)}, {"a": 1, "b": 1})
    result = run({"a": 0.8, "b": 0.0}, wishes)
    assert result.status is Status.OK
    row = result.trace[-1]
    assert abs(row["mean_b"]) <= max(0.01, 2 * row["mean_b_se"])
    assert row["multiplier_b"] > 0.3


@pytest.mark.parametrize("events", [1, 2, 4])
def test_a_killed_search_goes_on_to_the_same_numbers(events):
    short = {"first_steps": 90, "steps": 40, "checkpoint_every": 25, "n_eval": 1000}
    whole = run({"a": 0.9, "b": 0.8}, **short, max_updates=3)
    journal = MemoryJournal(events)
    with pytest.raises(KilledError):
        run({"a": 0.9, "b": 0.8}, journal=journal, **short, max_updates=3)
    journal.events = 10**9
    resumed = run({"a": 0.9, "b": 0.8}, journal=journal, **short, max_updates=3)
    assert resumed.trace == whole.trace


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
