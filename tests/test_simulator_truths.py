"""Quadratures that fits of simulators are held against, and what AVO starts from."""

import math

import numpy as np
import pytest
import torch
from experiments.simulators.__main__ import TRUTHS, observed
from experiments.simulators.avo import SETTINGS, _critic_loss, _within
from experiments.simulators.truths import EXACT, linear5, muons, poisson
from torch import nn

from btgm_cli import load_model
from btgm_cli.domains.pretraining.trainee import seeded
from btgm_cli.domains.simulators.shipped import ROTATION, asymmetry


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
    with seeded(0):
        critic = nn.Linear(1, 1)
    with torch.no_grad():
        critic.weight.fill_(3.0)
        critic.bias.zero_()
    real, fake = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [0.0]])
    loss = _critic_loss(critic, real, fake, torch.full((2, 1), 0.5), 0.5)
    assert loss.item() == pytest.approx(0.0 - 4.5 + 0.5 * 4)
    assert _within("poisson", {"E": 1.0}) == {"E": 1.0}
    held = _within("muons", {"E": 60.0, "G": -4.0})
    assert float(asymmetry(held["E"], held["G"])) == pytest.approx(-1.999)


def test_data_are_the_same_each_time():
    assert np.array_equal(observed("queue"), observed("queue"))
