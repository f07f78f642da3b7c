"""Learning f first: few evaluations, none with a gradient, no figure by what is learned."""

from dataclasses import replace

import pytest
import torch

from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tuned import regression
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuned.mixture import Mixture
from btgm_cli.tuned.regression import Pool, fit, joined
from btgm_cli.tuning import Gradient, Tuning, fitting, learning
from btgm_cli.tuning.algorithm import solve
from btgm_cli.tuning.fitting import N_SIFTED
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.surrogate import ask
from tests.oracle import Affine, unit_direction

DIM, BETA = 4, 1.0
MODEL = Gaussian(DIM)
LATENT = LatentCriterion(MODEL, Linear())
QUICK = Tuning(
    first_steps=150,
    steps=60,
    learning_rate=4e-3,
    n_learn=1000,
    n_eval=2000,
    n_reference=5000,
    min_acceptance_rate=0.2,
)


@pytest.fixture(scope="module", autouse=True)
def fewer_draws():
    """As many as these four dimensions need."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regression, "BATCH", 128)
        patch.setattr(fitting, "N_CALIBRATE", 30_000)
        yield


class Counted:
    """A criterion that counts what it is asked, and how often with a gradient."""

    def __init__(self, criterion):
        self.criterion, self.asked, self.with_gradient = criterion, 0, 0

    def __call__(self, x):
        self.asked += len(x)
        self.with_gradient += len(x) * x.requires_grad
        return self.criterion(x)


class ExactlyLinear(Acceptance):
    """An acceptance whose s is f itself, by all of its networks."""

    def each(self, z):
        return LATENT(z).expand(2, -1)


def tuned(criterion, target, settings=QUICK):
    flow = InverseAutoregressive(DIM, depth=2, hidden=[32])
    problem = Problem.checked(MODEL, criterion, target=target, flow=flow, settings=settings)
    if isinstance(criterion, Counted):
        criterion.asked = criterion.with_gradient = 0
    return solve(problem)


def test_the_default_learns_first_and_meets_the_tilt():
    result = tuned(Linear(), Target(betas=[0.0, BETA]))
    assert len(result.points[0].paid["f"]) == QUICK.n_eval  # what p was asked is learned from
    assert result.gradient is Gradient.SURROGATE
    assert result.status is Status.OK
    last = result.points[-1].figures
    assert last.kl_gap < 0.03
    assert abs(last.log_z - BETA**2 / 2) <= 4 * last.log_z_se


def step(x):
    """No gradient anywhere."""
    return (x[:, 0] > 1).float()


def test_each_evaluation_is_told_and_none_has_a_gradient():
    criterion = Counted(step)
    short = replace(QUICK, first_steps=15, steps=15)
    result = tuned(criterion, Target(betas=[1.0, 2.0]), short)
    assert criterion.asked == result.f_evals
    assert criterion.with_gradient == 0
    each = QUICK.n_learn + N_SIFTED + QUICK.n_eval
    assert [point.effort.f_evals for point in result.points] == [each, each]
    assert [point.effort.f_gradients for point in result.points] == [0, 0]


@pytest.mark.slow
def test_where_the_reference_has_no_draws_of_p_they_are_paid_for_once():
    result = tuned(Linear(), Target(betas=[0.0, 0.5, 1.0]))
    each = QUICK.n_learn + N_SIFTED + QUICK.n_eval
    evals = [point.effort.f_evals for point in result.points]
    assert evals == [QUICK.n_eval, QUICK.n_reference + each, each]


@pytest.mark.slow
def test_what_was_paid_for_is_kept_for_the_next_tilt():
    result = tuned(Linear(), Target(betas=[0.0, 1.0]))
    of_p, learned = (point.paid for point in result.points)
    assert len(of_p["f"]) == QUICK.n_eval
    assert len(learned["f"]) == QUICK.n_learn + N_SIFTED + QUICK.n_eval
    for paid in (of_p, learned):
        assert torch.allclose(paid["f"], Linear()(paid["z"]))


def test_gradients_are_told_where_they_are_followed():
    settings = replace(QUICK, gradient=Gradient.REPARAMETRISED, min_acceptance_rate=1.0)
    criterion = Counted(Linear())
    effort = tuned(criterion, Target(betas=[1.0]), settings).points[0].effort
    assert effort.f_gradients == criterion.with_gradient == 150 * QUICK.batch_size
    by_score = replace(settings, gradient=Gradient.SCORE, first_steps=5)
    assert tuned(Linear(), Target(betas=[1.0]), by_score).points[0].effort.f_gradients == 0


def test_a_wrong_surrogate_is_found_out(monkeypatch):
    """Each figure is measured with f itself: the gap is that of the flow that was misled."""
    right = learning.fit

    def misled(acceptance, pool, *arguments):
        wrong = Pool((pool.prior[0], -pool.prior[1]), [(z, -f) for z, f in pool.asked])
        right(acceptance, wrong, *arguments)

    monkeypatch.setattr(learning, "fit", misled)
    result = tuned(Linear(), Target(betas=[BETA]))
    figures = result.points[0].figures
    # N(−β, 1) instead of N(β, 1) would have KL = (2β)² / 2.
    assert BETA**2 < figures.kl_gap < 2.2 * BETA**2
    assert result.status is not Status.OK
    assert result.remedy.startswith(f"tuning.n_learn={2 * QUICK.n_learn} ")


def test_what_is_asked_are_draws_of_the_tilt_without_repeats():
    acceptance = ExactlyLinear(DIM)
    acceptance.beta.fill_(BETA)
    flow = Affine(0.5 * BETA * unit_direction(DIM), scale=1.2)
    n = 400
    asked = ask(acceptance, LATENT, Mixture(MODEL, flow), n, derived_generator(1))
    assert [len(f) for _, f in asked] == [4 * n // 5, n // 5]  # a plane has no border
    z, f = joined(asked)
    assert len(z.unique(dim=0)) == n
    assert torch.equal(f, Linear()(z))
    assert abs(f.mean().item() - BETA) <= 4 * f.std().item() / n**0.5
    assert abs(f.std().item() - 1) <= 4 / (2 * n) ** 0.5


def test_most_of_what_is_asked_lies_where_what_was_learned_is_steep():
    class Step(Acceptance):
        """s rises by 6 within a tenth of x₀ = 1; its networks differ by a fifth of it."""

        def each(self, z):
            s = 6 * torch.sigmoid(40 * (z[:, 0] - 1))
            return torch.stack([0.9 * s, 1.1 * s])

    acceptance = Step(DIM)
    acceptance.beta.fill_(1.0)
    flow = Affine(torch.zeros(DIM))
    border, tilt = ask(acceptance, LATENT, Mixture(MODEL, flow), 400, derived_generator(1))

    def near(pairs):
        return ((pairs[0][:, 0] - 1).abs() < 0.1).double().mean().item()

    x = torch.linspace(-8, 8, 100_001, dtype=torch.double)
    density = (6 * torch.sigmoid(40 * (x - 1)) - 0.5 * x.square()).softmax(0)
    share = density[(x - 1).abs() < 0.1].sum().item()
    assert abs(near(tilt) - share) <= 4 * (share * (1 - share) / len(tilt[1])) ** 0.5
    assert near(border) > 4 * share


@pytest.mark.slow
def test_a_kl_is_told_by_draws_that_ask_nothing_of_f():
    criterion = Counted(Linear())
    result = tuned(criterion, Target(C_D=0.3), replace(QUICK, tolerance=0.03))
    assert criterion.asked == result.f_evals
    first, last = result.points[0], result.points[-1]
    for effort in (point.effort for point in result.points[1:]):
        learned = QUICK.n_learn if effort.steps else 0
        assert effort.f_evals == learned + N_SIFTED + QUICK.n_eval
    assert first.effort.f_evals == last.figures.moments.n == QUICK.n_eval
    # The n draws whose f is known would leave √(2 KL / n).
    assert last.figures.moments.kl_se < 0.6 * (2 * 0.3 / QUICK.n_eval) ** 0.5
    assert abs(last.figures.moments.kl - 0.3) <= 0.03 * 0.3 + 4 * last.figures.moments.kl_se


def test_what_a_sampler_met_takes_part_in_the_fit():
    z = MODEL.sample_prior(2000, derived_generator(3))
    far = z[:1000] + 3 * unit_direction(DIM)
    pool = Pool((z, LATENT(z)), climbed=(far, LATENT(far)))
    (of_prior, n_prior), (met, n_met) = pool.sources()
    assert torch.equal(of_prior[0], z)
    assert torch.equal(met[0], far)
    assert (n_prior + n_met, n_met > n_prior) == (regression.BATCH, True)
    pool.add((z[:10], LATENT(z[:10])))
    assert sum(n for _, n in pool.sources()) == regression.BATCH
    assert pool.size == 3010
    pool.climbed[1][0] = torch.nan
    assert not pool.is_finite


@pytest.mark.slow
def test_the_fit_is_near_f_where_the_tilt_is():
    z = MODEL.sample_prior(20_000, derived_generator(2))
    acceptance = Acceptance(DIM)
    fit(acceptance, Pool((z, Linear()(z))), BETA, 600, derived_generator(3))
    fresh = MODEL.sample_prior(5000, derived_generator(4)) + BETA * unit_direction(DIM)
    with torch.no_grad():
        error = acceptance.predict(fresh) - Linear()(fresh)
    assert error.square().mean().sqrt() < 0.1
    assert not any(weight.requires_grad for weight in acceptance.nets.parameters())


def broken(x):
    """NaN where the tilt goes and p hardly ever does."""
    return torch.where(x[:, 0] > 3.5, torch.nan, x[:, 0])


def test_an_answer_that_is_no_number_ends_the_training():
    result = tuned(broken, Target(betas=[3.0]), replace(QUICK, first_steps=60))
    assert not result.points[0].effort.finite
    assert result.status is not Status.OK


def test_without_acceptance_there_is_nothing_to_learn():
    with pytest.raises(SettingError, match=r"tuning\.gradient='surrogate'.*min_acceptance_rate"):
        Tuning(gradient=Gradient.SURROGATE, min_acceptance_rate=1.0)


def test_auto_without_acceptance_is_as_in_the_paper():
    settings = replace(QUICK, min_acceptance_rate=1.0, first_steps=5)
    assert tuned(Linear(), Target(betas=[0.5]), settings).gradient is Gradient.REPARAMETRISED
    assert tuned(step, Target(betas=[0.5]), settings).gradient is Gradient.SCORE


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_fit_may_be_as_short_as_a_step(steps):
    z = MODEL.sample_prior(64, derived_generator(2))
    acceptance = Acceptance(DIM)
    before = acceptance.predict(z).detach()
    fit(acceptance, Pool((z, Linear()(z))), BETA, steps, derived_generator(3))
    assert not torch.equal(acceptance.predict(z).detach(), before)
