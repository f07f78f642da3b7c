"""`audit` and `btgm audit`: draws that are the tilt's, draws that are not, and refusals."""

import math

import pytest
import torch
from experiments.bench.audit import Case, draws_of

from btgm_cli import Status, audit, load_criterion
from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import Particles
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.truth.audit_verdict import FALSE_ALARMS

BETA, DIM, N = 0.5, 4, 2000
LINEAR = load_criterion("linear")


def tilt(n=N, beta=BETA, seed=0):
    """Exact draws of the linear criterion's tilt of a Gaussian."""
    return LINEAR.tilted(beta, noise(n, DIM, seed))


def noise(n, dim, seed):
    return torch.randn(n, dim, generator=derived_generator(seed, "test audit"))


def judged(z, beta=BETA, **more):
    return audit(z, Gaussian(DIM), LINEAR, beta, **more)


def test_draws_of_the_tilt_are_ok():
    found = judged(tilt())
    assert found.status is Status.OK
    assert found.verdict.reason == found.remedy == ""
    figures = found.figures
    assert abs(figures.mean_f - BETA) < 4 * figures.mean_f_se
    assert figures.mean_f_se == pytest.approx(1 / math.sqrt(N), rel=0.1)
    assert figures.n_effective == figures.n == N
    assert figures.coverage > 0.98 < figures.precision
    assert found.limit == FALSE_ALARMS / len(figures.comparisons)


def test_with_log_q_the_gap_is_that_of_the_density():
    """Of the exact density 0; of another's draws KL(N(m) ‖ N(β)) = (m − β)² / 2."""
    a = torch.ones(DIM) / DIM**0.5

    def log_normal(z, m):
        return Gaussian(DIM).prior_log_prob(z - m * a)

    right = judged(tilt(), log_q=log_normal(tilt(), BETA)).figures.weights
    assert abs(right.kl_gap) < 1e-5
    assert right.ess_fraction == pytest.approx(1.0)
    off = tilt(beta=BETA + 1)
    wrong = judged(off, log_q=log_normal(off, BETA + 1)).figures.weights
    assert abs(wrong.kl_gap - 0.5) < 4 * wrong.kl_gap_se
    too_low = judged(tilt(), log_q=log_normal(tilt(), BETA) - 0.1)
    assert too_low.status is Status.UNDERTRAINED
    assert "never below 0" in too_low.verdict.reason
    too_high = judged(tilt(), log_q=log_normal(tilt(), BETA) + 0.3)
    assert too_high.status is Status.UNDERTRAINED
    assert "kl_gap is 0.3" in too_high.verdict.reason


@pytest.mark.parametrize("kind", ["leak", "beta up", "beta down", "scale up", "scale down"])
def test_a_planted_fault_is_caught(kind):
    x, beta, size = draws_of(Case(kind, "linear", 8, 0.2, N, "z", 0))
    assert size == pytest.approx(0.2, abs=1e-3)
    found = audit(x, Gaussian(8), Case(kind, "linear", 8, 0.2, N, "z", 0).line.criterion, beta)
    assert found.status is Status.UNDERTRAINED
    assert "p = " in found.verdict.reason


@pytest.mark.parametrize("dim", [2, 64])
def test_a_lost_mode_is_called_one(dim):
    case = Case("mode dropped", "two modes, 20%", dim, 0.2, N, "z", 0)
    x, beta, _ = draws_of(case)
    found = audit(x, Gaussian(dim), case.line.criterion, beta)
    assert found.status is Status.MODE_DROPPED
    assert abs(found.figures.coverage - 0.8) < 0.05
    assert found.figures.precision > 0.98


def test_a_narrowed_optimizer_is_caught():
    x, beta, _ = draws_of(Case("collapse", "linear", 8, 0.5, N, "z", 0))
    line = Case("collapse", "linear", 8, 0.5, N, "z", 0).line
    assert audit(x, Gaussian(8), line.criterion, beta).status is not Status.OK


def test_repeats_are_caught_and_few_are_taken():
    few, many = tilt(), tilt()
    few[:40] = few[40:80]
    many[: N // 5] = many[-N // 5 :]
    assert judged(few).status is Status.OK
    found = judged(many)
    assert found.status is Status.UNDERTRAINED
    assert "20.0% of the rows repeat others" in found.verdict.reason
    assert found.figures.n_distinct == N - N // 5


def test_one_draw_that_takes_a_fiftieth_is_caught():
    z = tilt()
    z[:40] = z[0]
    assert "one draw takes 2.0%" in judged(z).verdict.reason


def test_too_few_draws_are_not_called_ok():
    found = judged(tilt(n=500))
    assert found.status is Status.UNDERTRAINED
    assert "500 draws do not show every fault" in found.verdict.reason
    assert found.remedy == "give 1000 draws or more"


def test_a_reference_that_knows_too_little_gives_no_verdict():
    def steep(x):
        return 4 * x[:, 0]

    found = audit(tilt(), Gaussian(DIM), steep, 1.0, n_reference=1000, n_particles=100)
    assert found.status is Status.UNRELIABLE_REFERENCE
    assert "raise n_reference" in found.remedy


class Signs:
    """f = x₀, with the sign of x₁ as the class."""

    n_classes = 2

    def __call__(self, x):
        return x[:, 0]

    def classes(self, x):
        return (x[:, 1] > 0).long()


def test_shares_of_classes_are_compared_and_a_lost_one_named():
    x = noise(N, DIM, 3)
    found = audit(x, Gaussian(DIM), Signs(), 0.0)
    assert found.status is Status.OK
    assert "class_shares" in [test.test for test in found.figures.comparisons]
    x[:, 1] = torch.where(noise(N, 1, 4)[:, 0] < 1.5, x[:, 1].abs(), x[:, 1])
    found = audit(x, Gaussian(DIM), Signs(), 0.0)
    assert found.status is Status.MODE_DROPPED
    assert "class 0 has" in found.verdict.reason


class Doubled(Gaussian):
    """x = 2 z."""

    def decode(self, z):
        return 2 * z


def test_draws_of_x_alone_are_judged():
    def f(x):
        return x[:, 0] / 2

    z = noise(N, DIM, 5)
    right, wrong = 2 * z, 2.4 * z
    assert audit(None, Doubled(DIM), f, 0.0, x=right).status is Status.OK
    assert audit(None, Doubled(DIM), f, 0.0, x=wrong).status is Status.UNDERTRAINED


def test_the_same_seed_gives_the_same_figures():
    assert judged(tilt()).figures == judged(tilt()).figures


def test_the_tilts_own_repeats_are_not_held_against_it():
    """A reference of few distinct draws is worth no more than those."""
    from btgm_cli.core.latent_criterion import LatentCriterion
    from btgm_cli.truth.audit import Draws, examine_draws

    f = LatentCriterion(Gaussian(DIM), LINEAR)
    exact = LINEAR.closed_form(Gaussian(DIM))

    class Repeating:
        f_evals = 0

        def at(self, beta):
            return exact.at(beta)

        def particles(self, beta, n, generator):
            few = exact.particles(beta, n // 5, generator)
            return Particles(few.z.repeat(5, 1), few.f.repeat(5))

    figures, _ = examine_draws(Draws(tilt()), f, BETA, Repeating(), seed=0)
    assert figures.n_compare == pytest.approx(2000)
    assert min(test.p for test in figures.comparisons) > 1e-3


# Refusals.


@pytest.mark.parametrize(
    ("z", "more", "told"),
    [
        (torch.zeros(200, DIM + 1), {}, f"must be floats of shape (n, {DIM})"),
        (torch.zeros(200), {}, "must be floats"),
        (torch.zeros(200, DIM).long(), {}, "must be floats"),
        (torch.zeros(99, DIM), {}, "must be 100 draws or more"),
        (torch.full((200, DIM), math.nan), {}, "must be finite"),
        (tilt(200), {"log_q": torch.zeros(199)}, "a value for each of the 200"),
        (tilt(200), {"log_q": torch.full((200,), math.inf)}, "log_q="),
        (None, {"log_q": torch.zeros(200)}, "give them too"),
        (None, {}, "x="),
        (None, {"x": torch.zeros(200, DIM + 1)}, "x="),
        (tilt(200), {"beta": -1.0}, "beta=-1.0"),
        (tilt(200), {"beta": math.nan}, "beta=nan"),
    ],
)
def test_draws_that_cannot_be_used_are_refused_in_one_line(z, more, told):
    with pytest.raises(SettingError) as refused:
        judged(z, **{"beta": BETA, **more})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
