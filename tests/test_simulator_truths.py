"""Quadratures that fits of simulators are held against, and what AVO starts from."""

import math

import numpy as np
import pytest
import torch
from experiments.simulators.__main__ import TRUTHS, observed
from experiments.simulators.avo import HIDDEN, RATE, SETTINGS, START, Adam, Critic, avo
from experiments.simulators.npe import _of_scaled
from experiments.simulators.queue_truths import adjusted, summary
from experiments.simulators.truths import EXACT, linear5, muons, poisson

from btgm_cli import load_model
from btgm_cli.domains.simulators.shipped import ROTATION, asymmetry, cosines, queue_summary
from btgm_cli.domains.simulators.simulator import prior_draws


def test_the_posterior_of_a_rate_is_normal_about_the_log_of_the_mean():
    x = np.random.default_rng(0).poisson(7, (5000, 1)).astype(float)
    exact, total = poisson(x), 1 + x.sum()
    mean = (x.sum() * math.log(x.mean()) + math.log(5)) / total
    assert abs(exact.mean[0] - mean) < 0.05 / math.sqrt(total)
    assert exact.sd[0] == pytest.approx(1 / math.sqrt(total), rel=1e-2)


def test_the_posterior_of_two_means_is_shrunk_to_the_prior():
    z = np.random.default_rng(0).normal([1, -1, 0, 0, 0], 1, (4, 5))
    exact = linear5(z @ ROTATION.T)
    assert np.allclose(exact.mean, z.mean(0)[:2] * np.array([4 / 5, (4 / 9) / (13 / 9)]))
    assert np.allclose(exact.sd, [1 / math.sqrt(5), 3 / math.sqrt(13)])


def test_the_ridge_keeps_c_where_the_likelihood_has_it():
    """With few data the posterior is nearly the prior; with many, c is nearly 4 E x."""
    simulate, theta, _ = TRUTHS["muons"]
    x = simulate(theta, 20_000, np.random.default_rng(0))
    exact = muons(x)
    c = float(asymmetry(exact.mean[0], exact.mean[1]))
    assert abs(c - 4 * x.mean()) < 4 * 4 * x.std() / math.sqrt(len(x))
    assert exact.sd[0] < 0.5


def test_priors_are_where_avo_starts():
    for name, published in SETTINGS.items():
        prior = load_model(name).simulator.prior
        assert np.allclose([p.numbers[0] for p in prior.parameters], published.mean)
        assert np.allclose([p.numbers[1] for p in prior.parameters], published.sd)
        assert set(TRUTHS[name][1]) == set(prior.names)
        assert name in EXACT


def test_avos_critic_pays_for_slopes_other_than_one():
    """With weights of 0.3, 1 and 1 for one unit of each layer d is 0.3 max(x, 0) above zero."""
    critic = Critic(1, np.random.default_rng(0))
    for array in critic.arrays:
        array[...] = 0.0
    critic.w1[0], critic.w2[0, 0], critic.w3[0] = 0.3, 1.0, 1.0
    real, fake = np.array([[1.0], [2.0]]), np.array([[0.0], [0.0]])
    loss = critic.loss(real, fake, np.full((2, 1), 0.5), 0.5)
    assert loss == pytest.approx(0.5 * (0.0 - 0.45) + 0.5 * 0.7**2)


def test_avos_slopes_by_hand_are_those_of_its_loss():
    rng = np.random.default_rng(0)
    critic = Critic(3, rng)
    for array in critic.arrays:
        array[...] += rng.normal(0, 0.3, array.shape)
    given = rng.normal(1, 1, (8, 3)), rng.normal(0, 1, (8, 3)), rng.random((8, 1)), 0.7
    for array, slope in zip(critic.arrays, critic.slopes(*given), strict=True):
        for place in np.ndindex(array.shape):
            array[place] += 1e-6
            above = critic.loss(*given)
            array[place] -= 2e-6
            below = critic.loss(*given)
            array[place] += 1e-6
            assert (above - below) / 2e-6 == pytest.approx(slope[place], abs=1e-6)


def test_avos_critic_starts_small():
    critic = Critic(5, np.random.default_rng(0))
    assert np.abs(critic.w1).max() <= START * math.sqrt(6 / (5 + HIDDEN))
    assert np.abs(critic.w1).max() > 0.5 * START * math.sqrt(6 / (5 + HIDDEN))
    assert not critic.b1.any()


def test_adam_steps_as_torchs():
    mine, theirs = np.array([1.0, -2.0]), torch.tensor([1.0, -2.0], dtype=torch.double)
    own, other = Adam([mine], (0.5, 0.9)), torch.optim.Adam([theirs], RATE, (0.5, 0.9))
    for slope in ([0.3, -1.0], [0.1, 2.0], [-0.4, 0.0]):
        own.step([np.array(slope)])
        theirs.grad = torch.tensor(slope, dtype=torch.double)
        other.step()
    assert np.allclose(mine, theirs.numpy(), atol=1e-12)


@pytest.mark.slow
def test_avo_narrows_its_proposal_where_entropy_has_a_price():
    free, paying = avo("poisson", 0.0, 0, epochs=3), avo("poisson", 5.0, 0, epochs=3)
    assert (paying.sd < free.sd).all()
    assert free.units == paying.units == 32 * 100 * 4 + 3 * 64


def test_a_density_is_what_is_positive():
    x = cosines(8.0, 4000, np.random.default_rng(0))[:, 0]
    assert ((1 + x**2 + 8 * x) > 0).all()
    assert x.min() < 0


def test_quantiles_by_sorting_are_the_shipped_ones():
    x = np.random.default_rng(0).exponential(1, (200, 50))
    assert np.array_equal(summary(x), queue_summary(x))


def test_what_lies_on_a_plane_over_the_statistics_is_moved_to_one_point():
    rng = np.random.default_rng(0)
    away, w = rng.normal(0, 1, (100, 5)), rng.random(100)
    theta = np.array([1.0, 2.0, 3.0]) + away @ rng.normal(0, 1, (5, 3))
    assert np.allclose(adjusted(theta, away, w / w.sum()), [1.0, 2.0, 3.0])


@pytest.mark.parametrize("name", list(TRUTHS))
def test_what_is_drawn_on_scales_of_order_one_comes_back_as_theta(name):
    simulator = load_model(name).simulator
    theta = prior_draws(simulator.prior, 20, 0, "scales")
    assert torch.allclose(_of_scaled(simulator, simulator.prior.scaled(theta)), theta)


def test_data_are_the_same_each_time():
    assert np.array_equal(observed("queue"), observed("queue"))
