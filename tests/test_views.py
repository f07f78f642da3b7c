"""Views together, on a Gaussian whose multipliers, quantile and KL come from quadrature.

Under N(0, I) in two dimensions, f = a is the first coordinate and b a slanted one.
"""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import root

from btgm_cli.cli import main
from btgm_cli.cli.viewed import with_criteria
from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.core.viewed import Viewed
from btgm_cli.core.views import Kind, View
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.combined.criteria import WeightedSum
from btgm_cli.report.views import views_figure
from btgm_cli.store.runs import Run
from btgm_cli.store.tables import MARGINALS, VIEWS
from btgm_cli.tilt.multipliers import Bounds, solve
from btgm_cli.tilt.views import Tilted, Viewpoint, settle
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuning import Tuning, tune
from btgm_cli.tuning.feasibility import Bound
from btgm_cli.tuning.sides import contradiction_of
from tests.marks import slow
from tests.test_tuning import KilledError, MemoryJournal

N = 10_000
Z = torch.randn(N, 2, generator=derived_generator(3), dtype=torch.double)
SLANTED = (0.6, 0.8)
VALUES = {"a": Z[:, 0], "b": Z @ torch.tensor(SLANTED, dtype=torch.double)}

STEP = 0.04
GRID = np.arange(-200, 201) * STEP
A, OTHER = np.meshgrid(GRID, GRID, indexing="ij")
P = np.exp(-0.5 * (A**2 + OTHER**2))
P /= P.sum()
ON_GRID = {"a": A, "b": SLANTED[0] * A + SLANTED[1] * OTHER}


def views_of(*statements):
    return tuple(map(View.parsed, statements))


def seen_by(views):
    return Viewpoint(torch.stack([VALUES[view.of] for view in views], -1)[:, None], torch.zeros(N))


def above(a, v):
    """1{a > v} where v may lie within a cell."""
    return np.clip((a - v) / STEP + 0.5, 0, 1)


class Exact:
    """The closest tilt by quadrature: its equations in λ and the quantile of the last view."""

    def __init__(self, views):
        self.views = views
        self.has_tail = views[-1].kind is Kind.TAIL_MEAN
        start = [0.5] * len(views) + [views[-1].value - 0.5] * self.has_tail
        self.theta = root(self.equations, start, tol=1e-10).x

    def tilted(self, theta):
        features = np.stack([self.feature(view, theta) for view in self.views])
        log_w = np.tensordot(theta[: len(self.views)], features, 1)
        return features, log_w

    def feature(self, view, theta):
        f = ON_GRID[view.of]
        if view.kind is Kind.MEAN:
            return f
        return above(f, view.at) if view.kind is Kind.PROBABILITY else np.maximum(f - theta[-1], 0)

    def residuals(self, theta):
        """Each equation's terms, shape (equations, …): of mean 0 under the tilt."""
        features, log_w = self.tilted(theta)
        cut = theta[-1] if self.has_tail else 0.0
        each = [g - view.goal(cut) for g, view in zip(features, self.views, strict=True)]
        if self.has_tail:
            each.append(above(A, cut) - self.views[-1].at)
        return np.stack(each), log_w

    def equations(self, theta):
        each, log_w = self.residuals(theta)
        q = P * np.exp(log_w - log_w.max())
        return (each * q).sum((1, 2)) / q.sum()

    def errors(self):
        """Standard errors of λ and the quantile by N draws of p: J⁻¹ V J⁻ᵀ."""
        each, log_w = self.residuals(self.theta)
        w = np.exp(log_w) / (P * np.exp(log_w)).sum()
        v = np.einsum("iab,jab,ab->ij", each, each, P * w**2)
        h = 1e-3
        shifts = h * np.eye(len(self.theta))
        columns = [
            (self.equations(self.theta + s) - self.equations(self.theta - s)) / (2 * h)
            for s in shifts
        ]
        inverse = np.linalg.inv(np.stack(columns, -1))
        return np.sqrt(np.diag(inverse @ v @ inverse.T) / N)

    def kl(self):
        """Nats, and the error that N draws of p leave of it: by the envelope, that of log Z."""
        _, log_w = self.tilted(self.theta)
        z = (P * np.exp(log_w)).sum()
        cut = self.theta[-1] if self.has_tail else 0.0
        goals = [view.goal(cut) for view in self.views]
        spread = math.sqrt((P * (np.exp(log_w) / z - 1) ** 2).sum() / N)
        return self.theta[: len(self.views)] @ goals - math.log(z), spread


def kl_of(seen, views, tilted):
    """By the draws, nats."""
    features = seen.features(views, tilted.cuts)
    goals = [view.goal(cut) for view, cut in zip(views, tilted.cuts.tolist(), strict=True)]
    log_z = torch.logsumexp(features @ tilted.multipliers, 0) - math.log(N)
    return (tilted.multipliers @ torch.tensor(goals).double() - log_z).item()


@pytest.mark.parametrize(
    "statements",
    [
        ("E(b) = 0.7", "P(a > 1.02) = 0.4"),
        ("E(b) = 0.3", "CVaR(a, 0.1) = 2.3"),
        ("P(a > -0.5) = 0.6", "CVaR(a, 0.2) = 1.1"),
    ],
)
def test_multipliers_quantile_and_kl_are_those_of_quadrature(statements):
    views = views_of(*statements)
    exact, seen = Exact(views), seen_by(views)
    found = settle(seen, views, Tilted.none(views))
    values = [*found.multipliers.tolist(), *found.cuts.tolist()[-1:] * exact.has_tail]
    assert (np.abs(values - exact.theta) <= 4 * exact.errors()).all()
    kl, kl_se = exact.kl()
    assert abs(kl_of(seen, views, found) - kl) <= 4 * kl_se
    tilt = seen.by(views, found)
    for j, view in enumerate(views):
        assert tilt.told(j, view)[0] == pytest.approx(view.value, rel=1e-3)


def test_a_tail_mean_takes_the_quantile_of_the_least_divergence():
    """Meucci's pair, P(f > v) = a and E max(f − v, 0) = a (c − v), costs more at any other v."""
    views = views_of("CVaR(a, 0.1) = 2.3")
    seen = seen_by(views)
    best = settle(seen, views, Tilted.none(views))
    f, v = VALUES["a"], best.cuts.item()

    def of_pair(cut):
        pair = torch.stack([(f > cut).double(), (f - cut).clamp(min=0)], -1)
        goal = torch.tensor([0.1, views[0].goal(cut)]).double()
        free = torch.full((2,), math.inf).double()
        found = solve(pair, goal, torch.zeros(2), Bounds(-free, free))
        return (found @ goal - torch.logsumexp(pair @ found, 0) + math.log(N)).item(), found

    least, multipliers = of_pair(v)
    assert least == pytest.approx(kl_of(seen, views, best), abs=1e-4)
    assert abs(multipliers[0]) < 0.05
    assert min(of_pair(v - 0.2)[0], of_pair(v + 0.2)[0]) > least + 1e-3


def test_how_far_two_tilts_are_apart_is_that_of_shifted_normal_distributions():
    views = views_of("E(a) = 1", "E(b) = 1")
    seen = seen_by(views)
    one, other = (Tilted(torch.tensor(m).double(), torch.zeros(2)) for m in ((0.3, 0), (0.4, 0.2)))
    step = torch.tensor([0.1, 0.2]).double()
    exact = (0.1 + 0.2 * SLANTED[0]) ** 2 + (0.2 * SLANTED[1]) ** 2  # nats: |shift|²
    errors = [
        seen.by(views, tilted).told(j, view)[1]
        for tilted in (one, other)
        for j, view in enumerate(views)
    ]
    error = step.abs().max().item() * sum(errors)
    assert seen.apart(views, one, other) == pytest.approx(exact, abs=4 * error)
    assert seen.apart(views, one, one) == 0


def test_what_is_granted_already_costs_nothing_and_at_most_pulls_down():
    views = views_of("P(a > 1) >= 0.05", "E(b) <= -0.3", "CVaR(a, 0.1) <= 5")
    found = settle(seen_by(views), views, Tilted.none(views))
    assert found.multipliers[0] == found.multipliers[2] == 0
    assert found.multipliers[1] == pytest.approx(-0.3, abs=0.03)


@pytest.mark.parametrize(
    "statements",
    [("P(a > 6) = 0.3",), slow(("E(a) = 60",)), slow(("E(b) = 4", "CVaR(a, 0.1) = 5"))],
)
def test_what_the_draws_cannot_tell_is_a_step_on_the_way(statements):
    views = views_of(*statements)
    seen = seen_by(views)
    found = settle(seen, views, Tilted.none(views))
    p, tilt = (seen.by(views, tilted) for tilted in (Tilted.none(views), found))
    assert tilt.effective >= 0.02 * 0.999
    higher = [View.parsed(f"E({view.of}) = 0") for view in views]
    assert all(tilt.told(j, of)[0] > p.told(j, of)[0] + 0.2 for j, of in enumerate(higher))


def test_free_multipliers_go_as_far_as_the_draws_can_tell_and_no_further():
    free = torch.full((1,), math.inf).double()
    far = solve(Z[:, :1], torch.tensor([60.0]), torch.zeros(1), Bounds(-free, free))
    assert 0 < far < 4
    near = solve(Z[:, :1], torch.tensor([-0.4]), torch.zeros(1), Bounds(-free, free))
    assert near == pytest.approx(-0.4, abs=4 * 1.1 / N**0.5)


def test_the_sum_of_features_is_the_tilt_that_was_solved_for():
    views = views_of("E(b) = 0.3", "P(a > 1) = 0.3", "CVaR(a, 0.1) = 2.3")
    tilted = Tilted(torch.tensor([0.2, 0.5, 1.5]).double(), torch.tensor([0.0, 1.0, 1.7]).double())
    criterion = Viewed(two(), views, [*tilted.multipliers.tolist(), *tilted.cuts.tolist()])
    a, b = VALUES["a"], VALUES["b"]
    by_hand = 0.2 * b + 0.5 * (a > 1) + 1.5 * (a - 1.7).clamp(min=0)
    assert torch.allclose(criterion(Z), by_hand)
    assert torch.allclose(seen_by(views).by(views, tilted).log_weights, by_hand)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("E(a) > 1", "must be such as"),
        ("P(a) = 0.1", "must be such as"),
        ("E(a) = nan", "must be such as"),
        ("P(a > 1) = 1.2", "a probability must be between 0 and 1"),
        ("P(a > 1) = 0", "a probability must be between 0 and 1"),
        ("CVaR(a, 1) = 2", "the share of a tail must be between 0 and 1"),
        ("CVaR(a, 95) = 2", "the share of a tail must be between 0 and 1"),
    ],
)
def test_statements_that_cannot_be_are_refused(statement, fault):
    with pytest.raises(SettingError, match=fault):
        Target(views=[statement])


@pytest.mark.parametrize(
    "statements",
    [
        ("P(f > 3) = 0.5", "P(f > 2) = 0.2"),
        ("P(f > 3) >= 0.5", "P(f > 2) <= 0.2"),
        ("E(f) = 5", "CVaR(f, 0.05) = 4"),
        ("CVaR(f, 0.05) <= 4", "CVaR(f, 0.1) >= 4.5"),
        ("P(f > 3) = 0.1", "CVaR(f, 0.05) = 2.9"),
        ("E(f) = 1", "E(f) = 2"),
    ],
)
def test_two_views_that_no_distribution_grants_are_both_named(statements):
    for order in (statements, statements[::-1]):
        with pytest.raises(SettingError, match="contradict each other") as told:
            Target(views=order)
        for view in views_of(*statements):
            assert view.text in str(told.value)


@pytest.mark.parametrize(
    "statements",
    [
        ("P(f > 3) = 0.2", "P(f > 2) = 0.5"),
        ("E(f) = 4", "CVaR(f, 0.05) = 5", "CVaR(f, 0.1) <= 4.9"),
        ("P(f > 3) <= 0.5", "P(f > 2) >= 0.2"),
        ("P(f > 3) = 0.5", "P(g > 2) = 0.2"),
        ("P(f > 3) = 0.01", "CVaR(f, 0.05) = 2.9"),
    ],
)
def test_views_that_may_be_granted_pass(statements):
    assert len(Target(views=statements).asked) == len(statements)


def bounded(*statements):
    """A contradiction on s = tanh(a), between −1 and 1, and its negative; the draws know all."""
    views = views_of(*statements)
    s = torch.tanh(2 * VALUES["a"][:4000])
    values = torch.stack([s if view.of == "s" else -s for view in views], -1)[:, None]
    under_p = [0.0] * len(views)

    def most(terms, weights, cuts, asked):
        each = zip(terms, weights, cuts, strict=True)
        total = sum(w * t.feature(s if t.of == "s" else -s, cut) for t, w, cut in each)
        return Bound(total.max().item(), 1.0) if total.max() < asked else None

    return contradiction_of(views, values, under_p, most)


def test_views_beyond_the_model_are_told_with_what_can_be_reached():
    found = bounded("E(s) = 1.5")
    assert "E(s)=1.5 cannot be met: the most that E(s) can be is 1" in found.text
    assert found.remedy.startswith('target.views=["E(s)=0.')
    assert "the least that E(s) can be is -1" in bounded("E(s) <= -1.2").text
    for statement in ("CVaR(s,0.1)=1.01", "P(s>1.001)=0.2"):
        found = bounded(statement).text
        assert f"{statement} cannot be met: the most that s can be is 1" in found


def test_views_of_two_criteria_that_contradict_each_other_are_both_named():
    found = bounded("P(s > 0.5) = 0.7", "P(minus > 0.5) = 0.6")
    assert "P(s>0.5)=0.7 and P(minus>0.5)=0.6 cannot be met together" in found.text
    found = bounded("E(s) = 0.5", "CVaR(minus, 0.3) <= -0.9")
    assert "E(s)=0.5 and CVaR(minus,0.3)<=-0.9 cannot be met together" in found.text
    assert bounded("P(s > 0.5) = 0.5", "P(minus > 0.5) = 0.3") is None


def two():
    return WeightedSum({"a": Linear([1.0, 0.0]), "b": Linear(SLANTED)}, {"a": 1.0, "b": 1.0})


def run(statements, journal=None, **choices):
    quick = {"first_steps": 250, "steps": 120, "learning_rate": 4e-3, "n_reference": 10_000}
    return tune(
        Gaussian(2),
        two(),
        target=Target(views=statements),
        flow=InverseAutoregressive(2, depth=2, hidden=[32]),
        settings=Tuning(**quick | choices),
        journal=journal,
    )


@pytest.mark.parametrize(
    ("criterion", "statement", "fault"),
    [(two(), "E(c) = 1", "no criterion c; choose from a, b"), (Linear(), "E(a) = 1", "no terms")],
)
def test_a_view_on_no_criterion_is_refused(criterion, statement, fault):
    with pytest.raises(SettingError, match=fault):
        tune(Gaussian(2), criterion, target=Target(views=[statement]))


def test_criteria_that_views_name_are_composed_once():
    typed = ['target.views=["E(peak) = 20","P(peak > 25) = 0.3","E(ramp) >= 5"]', "threads=1"]
    found = with_criteria(typed)
    assert found[:3] == [*typed, "criterion=views"]
    assert [item for item in found if "@" in item] == [
        "+criterion@criterion.terms.peak=peak",
        "+criterion@criterion.terms.ramp=ramp",
    ]
    assert with_criteria(found) == found
    assert with_criteria([*typed, "criterion=sum"]) == [*typed, "criterion=sum"]
    with pytest.raises(SettingError, match="did you mean peak"):
        with_criteria(['target.views=["E(peek) = 20"]'])


def test_views_of_an_experiment_are_on_the_terms_of_its_criterion(tmp_path, monkeypatch, capsys):
    typed = ["experiment=classes_held", 'target.views=["E(real) = 1"]']
    assert with_criteria(typed) == typed
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "experiment" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("defaults:\n  - override /model: vae_energy\n")
    # One without terms gives way to the criteria that are named, and a broken one to its fault.
    for other in ("mine", "energy_peak"):
        typed = [f"experiment={other}", 'target.views=["E(peak) = 20"]']
        assert "criterion=views" in with_criteria(typed)
    own.write_text("defaults: [\n")
    assert main(["run", *typed[1:], "experiment=mine"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("btgm run: experiment='mine': ")


def test_the_picture_has_a_panel_for_each_criterion(tmp_path):
    row = {
        "kind": "E",
        "asked": 1.0,
        "at": 0.0,
        "under_p": 0.0,
        "exact": 1.0,
        "met": True,
        "cut": 0,
    }
    rows = [row | {"view": f"E({of})=1", "criterion": of} for of in "abcde"]
    rows.append(rows[0] | {"kind": "CVaR", "view": "CVaR(a,0.1)=1", "cut": 0.5})
    bins = {
        "low": [0.0, 1.0],
        "high": [1.0, 2.0],
        "under_p": [0.9, 0.1],
        "exact": 0.5,
        "tuned": 0.5,
    }
    pd.DataFrame(rows).to_csv(tmp_path / VIEWS, index=False)
    tables = [pd.DataFrame(bins).assign(criterion=of) for of in "abcde"]
    pd.concat(tables).to_csv(tmp_path / MARGINALS, index=False)
    empty = Run(tmp_path, pd.DataFrame(), pd.DataFrame(), pd.DataFrame(), {}, [])
    figure = views_figure(empty)
    assert [axes.get_xlabel() for axes in figure.axes] == list("abcde")
    assert {axes.get_subplotspec().rowspan.start for axes in figure.axes} == {0, 1}
    assert views_figure(Run(tmp_path / "none", *[pd.DataFrame()] * 3, {}, [])) is None


def require_met(result):
    """By draws that λ was not solved by."""
    assert result.status in (Status.OK, Status.OK_CORRECTED)
    for row in result.views.rows:
        assert row["met"]
        assert abs(row["exact"] - row["asked"]) <= max(0.01 * row["asked"], 2 * row["exact_se"])


@pytest.mark.slow
def test_the_exact_tilt_meets_its_views_and_is_that_of_quadrature():
    statements = ("E(b) = 0.3", "CVaR(a, 0.1) = 2.3")
    result, exact = run(statements), Exact(views_of(*statements))
    require_met(result)
    for row, theta in zip(result.views.rows, exact.theta, strict=False):
        assert row["multiplier"] == pytest.approx(theta, rel=0.1)
    assert result.views.rows[-1]["cut"] == pytest.approx(exact.theta[-1], abs=0.05)
    reference = result.points[-1].figures.reference
    assert reference.kl == pytest.approx(exact.kl()[0], abs=4 * reference.kl_se)
    assert result.trace[-1]["effective_share"] >= 0.5


@pytest.mark.slow
def test_views_that_no_draw_of_p_is_near_are_met_step_by_step():
    require_met(run(("E(b) = 4.2", "CVaR(a, 0.2) = 4.3")))


def test_a_model_that_stands_for_the_tilt_already_is_not_trained():
    result = run(("E(b) = 0.08",), n_learn=500)
    require_met(result)
    assert [point.effort.steps for point in result.points] == [0] * len(result.points)
    states = [point.flow_state for point in result.points]
    assert all(torch.equal(states[0][name], states[-1][name]) for name in states[0])
    last = result.points[-1].figures
    assert abs(last.kl_gap - 0.08**2 / 2) <= 4 * last.kl_gap_se  # KL(p‖q), nats


def test_short_steps_that_lead_away_from_what_was_trained_are_followed(monkeypatch):
    def slowly(seen, views, start):
        goal = settle(seen, views, start)
        short = (goal.multipliers - start.multipliers).clamp(-0.09, 0.09)  # 0.008 nats
        return Tilted(start.multipliers + short, goal.cuts)

    monkeypatch.setattr("btgm_cli.tuning.views.settle", slowly)
    choices = {"n_learn": 500, "first_steps": 10, "steps": 10, "n_reference": 2000}
    result = run(("E(b) = 0.15",), **SHORT | choices)
    assert any(point.effort.steps for point in result.points)


SHORT = {"first_steps": 60, "steps": 30, "checkpoint_every": 25, "n_eval": 1000, "max_updates": 2}


@pytest.mark.slow
@pytest.mark.parametrize("events", [1, 3])
def test_a_killed_search_goes_on_to_the_same_numbers(events):
    statements, choices = ("E(b) = 0.3", "CVaR(a, 0.1) = 2.3"), {"n_learn": 500, **SHORT}
    unbroken = run(statements, **choices)
    journal = MemoryJournal(events)
    with pytest.raises(KilledError):
        run(statements, journal=journal, **choices)
    journal.events = 10**9
    assert run(statements, journal=journal, **choices).views == unbroken.views


@pytest.mark.slow
def test_too_few_passes_are_a_status_with_a_remedy():
    result = run(("E(b) = 3.4",), max_updates=1, first_steps=60, n_learn=500)
    assert result.status is Status.UNDERTRAINED
    assert "tuning." in result.remedy
    assert not result.views.rows[0]["met"]
