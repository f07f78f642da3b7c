"""What a run says before the work: the tilt from afar, and what its draws will cost."""

import math
import re
from dataclasses import replace

import pytest
import torch

from btgm_cli import Target, Tuning
from btgm_cli.cli import main
from btgm_cli.cli.forecast import table
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear, Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.truth.gradient_moves import WIDE
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuning import Problem, solve
from btgm_cli.tuning.forecast import Forecast, begun
from btgm_cli.tuning.pace import Pace
from btgm_cli.tuning.sight import Sight, sight
from btgm_cli.tuning.ways import BY_GRADIENT, MOVES, SMC_SHARE, Method, Plan, Way, ways
from tests.test_cli import GAUSSIAN, SMALL

QUICK = Tuning(first_steps=20, steps=10, n_eval=500, n_learn=500, n_reference=4000)


class Nearsighted:
    """Tilts of a Gaussian in closed form, that tell of themselves up to a β alone."""

    f_evals = 0

    def __init__(self, criterion, until, dim=3):
        self.exact = criterion.closed_form(Gaussian(dim))
        self.until = until

    def at(self, beta):
        return replace(self.exact.at(beta), reliable=beta <= self.until)

    def particles(self, beta, n, generator):
        return self.exact.particles(beta, n, generator)


def seen(target, criterion=None, until=math.inf):
    source = Nearsighted(criterion or Linear(), until)
    return sight(target, QUICK, source, derived_generator(0, "test"))


def problem_of(target, f=lambda x: x[:, 0], dim=2, settings=QUICK):
    model = Gaussian(dim)
    flow = InverseAutoregressive(dim, depth=1, hidden=[8])
    return Problem.checked(model, f, target=target, flow=flow, settings=settings)


@pytest.mark.parametrize(
    "target", [Target(C_D=2.0), Target(C_f=2.0), Target(rho=math.exp(-2)), Target(betas=[0, 2])]
)
def test_any_target_is_the_tilt_that_meets_it(target):
    found = seen(target)  # the tilts of N(0, I) by a·x: E f = β, KL = β²/2
    assert found.beta == pytest.approx(2.0, rel=1e-6)
    assert found.kl == pytest.approx(2.0, rel=1e-6)
    assert found.clear


def test_rejection_takes_the_largest_f_over_z():
    found = seen(Target(betas=[3.0]), Quadratic())
    # f = −|x|²/2 ≤ 0, log Z = −3/2 log(1 + β); of 1000 draws of N(0, 1/4) the shortest x has
    # P(|x|²/2 > t) = (1 − P(χ²₃ < 8t))^1000, below 1e-9 for t = 0.04.
    assert 1.5 * math.log(4) - 3 * 0.04 < found.log_rejection <= 1.5 * math.log(4)


@pytest.mark.parametrize("target", [Target(C_D=8.0), Target(C_f=4.0), Target(betas=[4.0])])
def test_what_is_out_of_sight_is_extrapolated(target):
    found = seen(target, until=1.7)  # exact here: KL goes as β², E f as β
    assert not found.clear
    assert found.beta == pytest.approx(4.0)
    assert found.kl == pytest.approx(8.0)
    assert found.log_rejection == found.kl  # E βf − log Z is the least that the largest can be


@pytest.mark.parametrize(
    ("target", "criterion"),
    [(Target(betas=[0]), Linear()), (Target(C_f=0.5), Quadratic())],
)
def test_there_is_nothing_to_tell_of_p_itself_or_of_what_no_tilt_meets(target, criterion):
    assert seen(target, criterion) is None


@pytest.mark.parametrize("f", [lambda x: x[:, 0] * math.nan, lambda x: 0 * x[:, 0]])
def test_of_an_f_that_is_nowhere_a_number_or_everywhere_the_same_nothing_is_told(f):
    problem = problem_of(Target(betas=[1.0]))
    problem.f.criterion = f
    assert begun(problem, None)[1] is None


def test_draws_of_p_tell_the_price_of_rejection():
    problem = problem_of(Target(C_D=0.5))
    reference, told = begun(problem, None)
    tilt = reference.prior.at(told.seen.beta)
    assert abs(tilt.kl - 0.5) < 1e-4  # nats: it is looked for in these draws
    rejection = next(way for way in told.ways if way.method is Method.REJECTION)
    best = reference.prior.f.max().item()
    price = math.exp(told.seen.beta * best - tilt.log_z)
    assert rejection.evaluations(10) == pytest.approx(10 * price)
    # e^{β max f − β²/2} with β = 1, by the errors of β and log Z that 4000 draws leave.
    error = 4 * math.hypot(best * tilt.kl_se, tilt.log_z_se)
    assert abs(math.log(price) - (best - 0.5)) < error
    assert not reference.has_climbed


@pytest.mark.parametrize(
    "gradient",
    ["score", "reparametrised", pytest.param("surrogate", marks=pytest.mark.slow)],
)
def test_the_price_of_a_path_is_what_tuning_it_takes(gradient):
    settings = replace(QUICK, gradient=gradient, min_acceptance_rate=0.5)
    if gradient != "surrogate":
        settings = replace(settings, min_acceptance_rate=1.0)
    problem = problem_of(Target(betas=[0, 0.4, 0.8]), settings=settings)
    reference, told = begun(problem, None)
    result = solve(problem, reference=reference)
    spent = sum(p.effort.f_evals + 2 * p.effort.f_gradients for p in result.points)
    shown = reference.prior.shown().f_evals if gradient == "surrogate" else 0
    assert told.ways[-1].fixed == spent + shown


def test_a_look_ahead_changes_no_draw():
    results = []
    flow_alone = replace(QUICK, min_acceptance_rate=1.0, n_reference=1000, max_updates=1)
    for ahead in (False, True):
        problem = problem_of(Target(C_D=0.3), settings=flow_alone)
        reference = begun(problem, None)[0] if ahead else None
        results.append(solve(problem, reference=reference))
    one, other = results
    assert one.f_evals == other.f_evals
    assert [p.figures.moments for p in one.points] == [p.figures.moments for p in other.points]
    assert torch.equal(one.sample(5), other.sample(5))


def test_smc_climbs_as_many_rungs_as_the_tilt_is_far():
    plan = Plan.of(Target(betas=[1.0]), QUICK, 0.5, closed_form=False)
    costs = []
    for beta in (0.47, 0.94, 4.7):  # one rung, two and ten: √(2 KL) = β, and a rung is 0.4724
        seen = Sight(beta, beta**2 / 2, beta**2, clear=True)
        costs.append(ways(seen, plan, Pace(1.0, 1.0, 1.0, 1.0))[1].each)
    assert costs[1] - costs[0] == pytest.approx(MOVES / SMC_SHARE)
    assert costs[2] - costs[0] == pytest.approx(9 * MOVES / SMC_SHARE)


@pytest.mark.slow
def test_a_run_tells_before_it_trains_and_its_continuation_does_not(here, capsys):
    tiny = [*GAUSSIAN, *SMALL, "tuning.first_steps=5", "target.betas=[1]", "out=run"]
    main(tiny)
    told = capsys.readouterr().out
    start = told.index("estimated cost of effective draws at β = 1, by the closed form")
    rows = told[start:].splitlines()[:5]
    assert [line.split()[0] for line in rows[1:]] == ["draws", "rejection", "smc", "tuning"]
    assert rows[1].split()[1:] == ["1,000", "10,000", "100,000"]
    assert all(re.fullmatch(r"  \w+( +[\d,.e+]+, [\d.e+-]+ (s|min|h|d)){3}", t) for t in rows[2:])
    assert told.index("verdict") > start
    main(["run", "resume=run"])
    assert "estimated cost" not in capsys.readouterr().out


@pytest.mark.parametrize(("dim", "least"), [(WIDE, True), (3, False)])
def test_moves_that_follow_the_gradient_are_told_at_the_least(dim, least):
    problem = problem_of(Target(betas=[0.3]), dim=dim)  # KL 0.045 nats: one rung
    smc = begun(problem, None)[1].ways[1]
    assert smc.method is Method.SMC
    assert smc.at_least is least
    assert smc.each == 1 + (BY_GRADIENT if least else MOVES)


def test_what_no_number_can_tell_is_told_in_words():
    way = Way(Method.REJECTION, 0.0, math.inf, 0.0, math.inf, at_least=True)
    assert table(Forecast(Sight(1.0, 5000.0, 5000.0, clear=False), None, None, 0), [way]).endswith(
        ("out of reach" + " " * 12) * 2 + "out of reach"
    )
