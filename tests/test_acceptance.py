"""Learned acceptance: a density that is one, figures that improve, and no harm where it cannot."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import ClosedForm, Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.truth.evaluation import examine
from btgm_cli.tuned.acceptance import (
    Acceptance,
    choose_level,
    log_acceptance,
    share_and_error,
)
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuned.mixture import DEFENSIVE, THINNEST, Mixture, mixed
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning import fitting
from btgm_cli.tuning.fitting import calibrate, fit_acceptance
from tests.oracle import Affine, unit_direction

DIM, BETA = 3, 1.5
MODEL, CRITERION = Gaussian(DIM), Linear()
LATENT = LatentCriterion(MODEL, CRITERION)


@pytest.fixture(scope="module", autouse=True)
def fewer_draws():
    """As many as these three dimensions need; the error of E[a] is in every figure's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "N_OFFERED", 60_000)
        patch.setattr(fitting, "N_CALIBRATE", 40_000)
        patch.setattr(fitting, "BATCH", 512)
        yield


def fitted(flow, seed=0, steps=150, least_share=0.2):
    """An acceptance for β f on the Gaussian oracle, with the given flow."""
    acceptance = Acceptance(DIM, seed)
    generator = derived_generator(seed, "fit")
    z = 2 * torch.randn(20_000, DIM, generator=generator)
    prior = torch.randn(5000, DIM, generator=generator)
    pairs = (z, CRITERION(z)), (prior, CRITERION(prior))
    fit_acceptance(acceptance, LATENT, *pairs, BETA, steps, generator)
    z, f = calibrate(acceptance, LATENT, flow, least_share, generator)
    assert torch.equal(f, CRITERION(z))
    return acceptance


def figures(flow, acceptance):
    tuned = TunedModel(MODEL, flow, acceptance)
    reference = ClosedForm(MODEL, CRITERION)
    return examine(
        tuned, LATENT, BETA, reference, 10_000, lambda purpose: derived_generator(9, purpose)
    )


@pytest.fixture(scope="module")
def wide():
    """A flow that is too wide and half way to the tilt, and its acceptance."""
    flow = Affine(0.5 * BETA * unit_direction(DIM), scale=1.3)
    return flow, fitted(flow)


def test_a_wrong_flow_comes_closer_to_the_tilt(wide):
    flow, acceptance = wide
    before, after = figures(flow, None), figures(flow, acceptance)
    assert before.kl_gap > 0.3
    assert after.kl_gap < 0.05
    assert after.ess_fraction > max(0.9, before.ess_fraction)
    assert 0.2 <= after.acceptance_rate <= 1


def test_its_density_is_that_of_its_draws(wide):
    """E[p e^{βf} / q̂] is Z(β), which is known: a constant or a density off would shift it."""
    found = figures(*wide)
    assert abs(found.log_z - BETA**2 / 2) <= 4 * found.log_z_se


def test_the_density_of_any_point_is_the_density_drawn_with(wide):
    flow, acceptance = wide
    tuned = TunedModel(MODEL, flow, acceptance)
    z, log_q = tuned.draw(3000, derived_generator(5))
    assert torch.allclose(tuned.log_prob(z), log_q, atol=1e-3)


def test_it_is_open_before_it_is_calibrated():
    flow = Affine(torch.zeros(DIM))
    plain, opened = TunedModel(MODEL, flow), TunedModel(MODEL, flow, Acceptance(DIM))
    z, log_q = plain.draw(100, derived_generator(1))
    z_open, log_q_open = opened.draw(100, derived_generator(1))
    assert torch.equal(z, z_open)
    assert torch.equal(log_q, log_q_open)
    assert opened.acceptance.rate == 1.0


def test_it_stays_open_where_the_network_is_wrong():
    """Fitted to −f: whatever it keeps is worse than what it refuses."""
    flow = Affine(BETA * unit_direction(DIM))
    acceptance, generator = Acceptance(DIM), derived_generator(2)
    z = torch.randn(5000, DIM, generator=generator)
    wrong = (z, -CRITERION(z))
    against = LatentCriterion(MODEL, lambda x: -CRITERION(x))
    fit_acceptance(acceptance, against, wrong, wrong, BETA, 50, generator)
    calibrate(acceptance, LATENT, flow, 0.2, generator)
    assert acceptance.is_open
    assert figures(flow, acceptance).kl_gap == pytest.approx(0, abs=1e-4)


def test_a_saved_one_accepts_the_same(wide):
    _, acceptance = wide
    again = Acceptance.of(acceptance.snapshot())
    z = torch.randn(50, DIM, generator=derived_generator(6))
    ratio = torch.zeros(50)
    assert torch.equal(again.log_accept(z, ratio), acceptance.log_accept(z, ratio))
    assert again.rate == acceptance.rate
    with pytest.raises(SettingError, match="make the run again"):
        Acceptance.of({"net.0.weight": z})  # as it was with one network


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-30, 5), min_size=20, max_size=60), st.floats(0.05, 0.9))
def test_the_level_keeps_the_share_that_it_must(log_weights, least):
    log_weights = torch.tensor(log_weights, dtype=torch.double)
    level = choose_level(log_weights, least, good_enough=0.01)
    share, _ = share_and_error(log_acceptance(log_weights, level))
    assert share >= least - 1e-6


def test_it_is_lenient_far_below_the_level():
    """So that a draw whose f was badly predicted carries a bounded weight."""
    log_a = log_acceptance(torch.tensor([5.0, -1.0, -2.0, -12.0]), 0.0)
    assert log_a.tolist() == pytest.approx([0.0, -1.0, -2.0, -9.75])


def test_the_mixtures_density_integrates_to_one_under_p():
    """E_p[m / p] = 1, with the flow inverted at each draw of p."""
    mixture = Mixture(MODEL, Affine(0.3 * BETA * unit_direction(DIM), scale=0.9))
    ratio = mixture.at(MODEL.sample_prior(20_000, derived_generator(7))).log_ratio.exp()
    assert abs(ratio.mean().item() - 1) <= 4 * ratio.std().item() / math.sqrt(20_000)


def test_a_draw_of_the_flow_has_the_density_of_any_point():
    mixture = Mixture(MODEL, Affine(BETA * unit_direction(DIM), scale=1.3))
    drawn = mixture.draw_flow(500, derived_generator(8))
    assert torch.allclose(mixture.at(drawn.z).log_flow, drawn.log_flow, atol=1e-4)


def test_only_hopeful_draws_are_inverted_and_the_others_are_thinnest():
    mixture = Mixture(MODEL, Affine(BETA * unit_direction(DIM)))
    z = MODEL.sample_prior(200, derived_generator(9))
    hopeful = z[:, 0] > 0
    inverted, invert = [], mixture.flow.inverse
    mixture.flow.inverse = lambda z: (inverted.append(len(z)), invert(z))[1]
    some = mixture.at(z, hopeful)
    assert inverted == [int(hopeful.sum())]
    assert torch.equal(some.log_flow[hopeful], mixture.at(z).log_flow[hopeful])
    assert (some.log_ratio[~hopeful] == some.z.new_tensor(THINNEST)).all()


def test_a_model_of_kept_weights_has_a_flow_of_its_own(wide):
    """So that what a training does next to its flow does not change it."""
    flow, acceptance = InverseAutoregressive(DIM, depth=2, hidden=[8], seed=3), wide[1]
    kept = flow.settings, flow.snapshot(), acceptance.snapshot()
    before = TunedModel(MODEL, flow, acceptance).draw(500, derived_generator(1))
    with torch.no_grad():
        for weight in flow.parameters():
            weight.add_(0.3)
    again = TunedModel.of(MODEL, *kept).draw(500, derived_generator(1))
    assert torch.equal(again[0], before[0])
    assert torch.equal(again[1], before[1])
    assert not torch.equal(
        TunedModel(MODEL, flow, acceptance).draw(500, derived_generator(1))[0], before[0]
    )
    assert TunedModel.of(MODEL, *kept[:2], {}).acceptance is None


def test_the_mixture_is_never_thinner_than_its_share_of_p():
    ratio = mixed(torch.tensor([-math.inf, -50.0, 0.0, 50.0]))
    assert (ratio >= math.log(DEFENSIVE) - 1e-6).all()
    assert ratio[2].item() == pytest.approx(0.0, abs=1e-6)
