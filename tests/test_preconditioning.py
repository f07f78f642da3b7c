"""Tilts far narrower than p: found by a pilot, and followed by a flow that begins there."""

import math

import pytest
import torch

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.domains.analytic.criteria import Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tilt.estimates import mean_and_error
from btgm_cli.tuned.flows import InverseAutoregressive, SplineCoupled, build_flow
from btgm_cli.tuning import Gradient, Tuning, tune
from btgm_cli.tuning.preconditioning import (
    DRAWS,
    LEAST_SHARE,
    MOST_PROPOSALS,
    NARROW,
    Preconditioner,
    pilot,
)
from btgm_cli.tuning.training import Schedule, Training, reparametrised_loss, train
from tests.test_tuning import MemoryJournal

AT = (1.5, -0.5)
SETTINGS = Tuning(
    gradient=Gradient.REPARAMETRISED,
    min_acceptance_rate=1.0,
    learning_rate=5e-3,
    first_steps=200,
    steps=100,
    n_eval=2000,
    n_reference=2000,
    n_particles=800,
)


def well(k, at=AT):
    """−k|x − at|²/2: the tilt of N(0, I) is N(k at / (1 + k), I / (1 + k)) at β = 1."""

    def f(x):
        return -0.5 * k * (x[:, : len(at)] - torch.tensor(at)).square().sum(-1)

    return f


def log_z(k, at=AT):
    distance = sum(a * a for a in at)
    return -0.5 * len(at) * math.log1p(k) - 0.5 * k * distance / (1 + k)


def small(dim=2):
    return InverseAutoregressive(dim, depth=2, hidden=[16])


def latent(f, dim=2):
    return LatentCriterion(Gaussian(dim), f)


@pytest.mark.parametrize("k", [1.0, 1e3, 1e6])
def test_a_pilot_finds_the_mean_and_the_width_of_a_normal_tilt(k):
    found = pilot(latent(well(k)), 1.0, derived_generator(0))
    assert found.reached
    sd = 1 / math.sqrt(1 + k)
    # Of the draws so many were effective; the variance of a variance is 2 σ⁴ / n.
    n = LEAST_SHARE * DRAWS
    away = (found.center - k / (1 + k) * torch.tensor(AT)) / sd
    assert away.abs().max() < 4 / math.sqrt(n)
    covariance = found.factor @ found.factor.T / sd**2
    assert (covariance - torch.eye(2)).abs().max() < 4 * math.sqrt(2 / n)
    assert found.is_narrow == (sd < NARROW)
    assert found.f_evals % DRAWS == 0


def test_a_pilot_follows_a_negative_beta():
    found = pilot(latent(lambda x: well(1e4)(x).neg()), -1.0, derived_generator(0))
    assert found.reached
    assert (found.center - torch.tensor(AT)).abs().max() < 0.01


def test_a_pilot_gives_up_in_wide_spaces_and_where_f_is_no_number():
    for dim in (128, 256, 1500):
        wide = pilot(latent(lambda x: 30 * x[:, 0].abs(), dim), 1.0, derived_generator(0))
        assert not wide.reached
        assert wide.f_evals < MOST_PROPOSALS * DRAWS
    nowhere = pilot(latent(lambda x: x[:, 0].log()), 1.0, derived_generator(0))
    assert (nowhere.reached, nowhere.f_evals) == (False, DRAWS)


@pytest.mark.parametrize("family", [InverseAutoregressive, SplineCoupled])
def test_a_placed_flow_is_the_affine_map_with_its_inverse_and_volume(family):
    flow = family(2, depth=2, hidden=[16])
    z0 = Gaussian(2).sample_prior(100, derived_generator(0))
    before, log_det_before = flow(z0)
    center, factor = torch.tensor([1.0, -2.0]), torch.tensor([[0.01, 0.0], [0.5, 2.0]])
    assert not flow.is_placed
    flow.place(center, factor)
    assert flow.is_placed
    z, log_det = flow(z0)
    assert torch.allclose(z, center + before @ factor.T)
    assert torch.allclose(log_det, log_det_before + math.log(0.02), atol=1e-5)
    back, same = flow.inverse(z)
    assert torch.allclose(back, z0, atol=1e-4)
    assert torch.allclose(same, log_det, atol=1e-4)


def test_a_flow_of_an_earlier_version_is_read_as_one_that_is_not_placed():
    flow = small()
    state = {name: v for name, v in flow.snapshot().items() if name not in ("center", "factor")}
    z0 = torch.ones(3, 2)
    read = build_flow(flow.settings, state)
    assert not read.is_placed
    assert torch.equal(read(z0)[0], flow(z0)[0])


def test_a_wide_tilt_leaves_the_flow_where_it_was():
    flow = small()
    before = flow.snapshot()
    start = Preconditioner(flow).place(latent(well(3.0)), 1.0, derived_generator(0))
    assert (start.placed, start.anew) == (False, False)
    assert start.f_evals > 0
    assert all(torch.equal(value, before[name]) for name, value in flow.snapshot().items())


def gap(flow, k, beta=1.0):
    """KL(q̂‖q_β) of a well, with its standard error, by the exact log Z."""
    z0 = Gaussian(2).sample_prior(4000, derived_generator(9))
    with torch.no_grad():
        cost = reparametrised_loss(latent(well(k)), flow, z0, beta)
        each = cost.log_ratio - beta * cost.f
    mean, se = mean_and_error(each.double())
    return mean + log_z(k), se


def test_a_flow_that_begins_there_is_the_tilt_and_one_from_p_is_lost():
    k, flows = 1e6, {True: small(), False: small()}
    for begins_there, flow in flows.items():
        start = 0.0
        if begins_there:
            Preconditioner(flow).place(latent(well(k)), 1.0, derived_generator(0))
            start = 1.0
        schedule = Schedule(start, 1.0, SETTINGS.first_steps)
        train(latent(well(k)), Training(flow, SETTINGS, schedule, derived_generator(1)), SETTINGS)
    found, se = gap(flows[True], k)
    assert found < 0.01 + 4 * se
    assert gap(flows[False], k)[0] > 1.0


def test_the_next_tilt_keeps_the_shape_in_the_new_place():
    flow = small()
    places = Preconditioner(flow)
    assert places.place(latent(well(1e4)), 1.0, derived_generator(0)).anew
    with torch.no_grad():
        for weight in flow.parameters():
            weight.add_(0.01)
    learned = [weight.clone() for weight in flow.parameters()]
    start = places.place(latent(well(1e4)), 1e-4, derived_generator(0))
    assert (start.placed, start.anew) == (True, False)
    assert flow.factor.diagonal().min() > NARROW  # wide again, and followed all the same
    assert all(map(torch.equal, flow.parameters(), learned))


def path(journal=None):
    target, f = Target(betas=[1e-5, 1e-2, 1.0]), Quadratic(1e6)
    return tune(Gaussian(2), f, target=target, flow=small(), settings=SETTINGS, journal=journal)


def test_a_path_into_a_narrow_tilt_is_charged_for_its_pilots_and_resumes_to_the_bit():
    journal = MemoryJournal()
    whole = path(journal)
    last = whole.points[-1]
    # The first tilt is wide; at the second, which is not, the flow begins anew.
    steps = [point.effort.steps for point in whole.points]
    assert steps == [SETTINGS.first_steps, SETTINGS.first_steps, SETTINGS.steps]
    trained = SETTINGS.steps * SETTINGS.batch_size
    assert last.effort.f_evals > trained + SETTINGS.n_eval + 2 * DRAWS
    assert last.effort.f_gradients == trained
    assert last.figures.kl_gap < 0.01 + 4 * last.figures.kl_gap_se
    resumed = MemoryJournal()
    resumed.kept = journal.kept[:2]
    again = path(resumed)
    for name, value in again.points[-1].flow_state.items():
        assert torch.equal(value, last.flow_state[name])
