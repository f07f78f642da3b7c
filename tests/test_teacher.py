"""Fitting a flow to particles of the tilt: it has all modes, and shares nothing with a judge."""

import math
from dataclasses import replace

import pytest
import torch

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.truth import guided_moves
from btgm_cli.truth.references import latent_smc
from btgm_cli.tuned.flows import SplineCoupled
from btgm_cli.tuning import Gradient, Tuning, tune
from btgm_cli.tuning.teacher import Teacher
from btgm_cli.tuning.training import Schedule, Training, likelihood_loss, train

MODEL, APART = Gaussian(2), 4.0
SETTINGS = Tuning(
    gradient=Gradient.PARTICLES,
    n_learn=1600,
    first_steps=120,
    steps=20,
    n_eval=2000,
    min_acceptance_rate=1.0,
    n_reference=2000,
    n_particles=2000,
)


def two_modes(x):
    """Tilts N(0, I) into N(±4, 1) along x₀ at β = 1, each half; log Z is 8 nats."""
    return torch.logaddexp(APART * x[:, 0], -APART * x[:, 0]) - math.log(2)


def small_flow():
    return SplineCoupled(2, depth=3, hidden=[32], bins=8, bound=8.0)


def test_the_loss_of_an_untouched_flow_is_the_priors():
    z = MODEL.sample_prior(500, derived_generator(0)) + 1
    batch = likelihood_loss(MODEL, small_flow(), z, two_modes(z))
    assert batch.loss.item() == pytest.approx(-MODEL.prior_log_prob(z).mean().item(), abs=1e-3)
    assert batch.log_ratio.abs().max() < 0.1
    assert batch.loss.requires_grad


@pytest.mark.slow
def test_a_flow_that_learns_from_particles_has_both_modes():
    settings = replace(SETTINGS, n_learn=8000, first_steps=600, steps=600)
    target = Target(betas=[0.5, 1])
    result = tune(MODEL, two_modes, target=target, flow=small_flow(), settings=settings)
    figures = result.points[-1].figures
    assert abs(figures.log_z - APART**2 / 2) <= 4 * math.hypot(figures.log_z_se, 0.01)
    z, _ = result.tuned.draw(4000, derived_generator(1))
    assert abs((z[:, 0] > 0).double().mean().item() - 0.5) < 0.1
    assert figures.kl_gap < 0.1
    assert figures.coverage > 0.9
    effort = [point.effort for point in result.points]
    assert all(each.f_gradients == 0 for each in effort)
    # Climbing, and as many draws of the flow, beside those that it is judged by.
    assert effort[0].f_evals > settings.n_learn + settings.n_eval
    assert effort[1].f_evals > settings.n_learn + settings.n_eval


def test_the_teacher_shares_nothing_with_the_judge_and_is_charged_once():
    f = LatentCriterion(MODEL, two_modes)
    reference = latent_smc(f, derived_generator(0, "smc"), 50, wide=1)
    reference.at(1.0)
    teacher = Teacher(f, 800, lambda *purpose: derived_generator(0, *purpose))
    training = Training(small_flow(), SETTINGS, Schedule(0.0, 1.0, 40), derived_generator(0))
    spent = teacher.teach(training, 0)
    assert spent > 800
    assert teacher.reach(1.0) == 0
    z, values = training.data
    assert torch.equal(values, two_modes(z))
    judges = {tuple(each) for rung in reference.ladder for each in rung.z.flatten(0, 1).tolist()}
    assert not judges & set(map(tuple, z.tolist()))
    train(f, training, SETTINGS)
    assert teacher.examine(training, 0) == 800
    assert training.seen.count == 1600
    seen, _ = training.seen.pairs()
    for of in (seen[:800], seen[800:]):  # particles, and draws of the flow
        assert abs((of[:, 0] > 0).double().mean().item() - 0.5) < 0.2


@pytest.mark.parametrize("most", [1000, 200_000])
def test_what_a_dear_climb_has_asked_for_is_told_too(monkeypatch, most):
    """Without a gradient f is dear; the particles and the flow's draws are told last, and stay."""
    monkeypatch.setattr("btgm_cli.tuning.teacher.MOST_SEEN", most)
    monkeypatch.setattr(guided_moves, "INNER", 10)

    def dear(x):
        return two_modes(x.detach())

    f = LatentCriterion(MODEL, dear)
    teacher = Teacher(f, 400, lambda *purpose: derived_generator(0, *purpose))
    training = Training(small_flow(), SETTINGS, Schedule(0.0, 0.4, 40), derived_generator(0))
    spent = teacher.teach(training, 0)
    assert teacher.examine(training, 0) == 400
    z, values = training.seen.pairs()
    assert torch.allclose(values, two_modes(z))
    assert 800 < len(values) <= min(most, spent + 800)
    assert torch.equal(z[-800:-400], training.data[0])
    if most == 1000:
        assert len(values) == most


def test_what_is_no_number_teaches_nothing():
    def broken(x):
        return torch.where(x[:, 0] > 3, torch.nan, x[:, 1])

    result = tune(MODEL, broken, target=Target(betas=[1]), flow=small_flow(), settings=SETTINGS)
    assert result.status is Status.UNRELIABLE_REFERENCE
    assert result.points[-1].effort.steps == 0
