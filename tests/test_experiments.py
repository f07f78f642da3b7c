"""What the pages of experiments compute with: a conditional VAE, opinions, labels."""

import math
from dataclasses import replace

import pytest
import torch
from experiments.conditional.network import CLASSES, ConditionalTrainee, ConditionalVae
from experiments.debugging.opinions import Opinions, tilted_test, uniform
from experiments.few_labels.__main__ import accuracy, learned, linear, small, standardized
from torch import nn
from torch.nn.functional import one_hot

from btgm_cli.domains.digits.pretraining.vae import VaeSettings
from btgm_cli.domains.pretraining.loop import run_loop
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.domains.pretraining.trainee import seeded

DIM, SCALE = 3, 0.3
SETTINGS = VaeSettings(
    steps=4, batch=8, latent_dim=2, hidden=8, channels=2, encoder_channels=2, encoder_hidden=8
)


def manual(seed):
    return torch.Generator().manual_seed(seed)


def linear_vae():
    """x = Wz + Vy + b + SCALE e with its exact posterior: W, V + b for each class, and the VAE.

    The columns of W are orthogonal, so that the posterior's covariance is diagonal.
    """
    rng = manual(0)
    basis = torch.linalg.qr(torch.randn(784, DIM, generator=rng, dtype=torch.double)).Q
    w = basis * torch.tensor([0.5, 1.0, 2.0])
    v = torch.rand(784, CLASSES, generator=rng, dtype=torch.double)
    b = torch.rand(784, generator=rng, dtype=torch.double)
    variance = 1 / (1 + w.square().sum(0) / SCALE**2)
    with seeded(0):
        vae = ConditionalVae(DIM, 8, 2, 2, 8).double()
        vae.head = nn.Linear(784 + CLASSES, 2 * DIM, dtype=torch.double)
        decode = nn.Linear(DIM + CLASSES, 784, dtype=torch.double)
    slope = variance[:, None] * w.T / SCALE**2
    vae.features = nn.Flatten()
    mean = torch.cat([slope, -slope @ v], 1)
    vae.head.weight.data = torch.cat([mean, torch.zeros_like(mean)])
    vae.head.bias.data = torch.cat([-slope @ b, variance.log() / 2])
    decode.weight.data, decode.bias.data = torch.cat([w, v], 1), b
    vae.decoder = nn.Sequential(decode, nn.Unflatten(1, (1, 28, 28)))
    vae.log_scale.data = torch.tensor(math.log(SCALE), dtype=torch.double)
    return w, (v.T + b), vae


def test_bound_of_a_linear_gaussian_conditional_vae_is_the_evidence_of_its_class():
    """log p(x | z, y) is quadratic in z: noise at ±√D along each axis gives its mean exactly."""
    w, means, vae = linear_vae()
    covariance = w @ w.T + SCALE**2 * torch.eye(784, dtype=torch.double)
    axes = math.sqrt(DIM) * torch.eye(DIM, dtype=torch.double)
    noise = torch.cat([axes, -axes])
    for label in (0, 7):
        evidence = torch.distributions.MultivariateNormal(means[label], covariance)
        x = means[label] + 0.2 * torch.randn(784, generator=manual(1), dtype=torch.double)
        y = torch.full((2 * DIM,), label)
        log_prob, kl = vae.bound(x.view(1, 1, 28, 28).expand(2 * DIM, -1, -1, -1), y, noise)
        expected = evidence.log_prob(x).item()
        assert (log_prob - kl).mean().item() == pytest.approx(expected, rel=1e-9)
        other = vae.bound(x.view(1, 1, 28, 28).expand(2 * DIM, -1, -1, -1), y - label + 1, noise)
        assert (other[0] - other[1]).mean().item() < expected


def test_a_conditional_vae_killed_and_resumed_is_the_same_to_the_bit(tmp_path, monkeypatch):
    images, labels = torch.rand(40, 1, 28, 28, generator=manual(0)), torch.arange(40) % 10
    step = ConditionalTrainee.step

    def killed(self, index):
        if index == 3:
            raise KeyboardInterrupt
        return step(self, index)

    def trained(run):
        trainee = ConditionalTrainee(images, labels, SETTINGS, run.seed)
        run_loop(trainee, SETTINGS, run)
        return trainee.network.state_dict()

    whole = RunSettings("net", out=str(tmp_path / "whole"), save_every=2, device="cpu")
    parted = replace(whole, out=str(tmp_path / "parted"))
    expected = trained(whole)
    monkeypatch.setattr(ConditionalTrainee, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(parted)
    monkeypatch.setattr(ConditionalTrainee, "step", step)
    found = trained(replace(parted, resume=True))
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_opinions_by_hand():
    """Four images; the classifier finds 0, 0, 1, 1, the others 0, 1, 1, 1 and 0, 0, 0, 1."""
    own = torch.tensor([[0.95, 0.05], [0.6, 0.4], [0.4, 0.6], [0.05, 0.95]]).double()
    others = torch.stack(
        [
            torch.tensor([[1, 0], [0, 1], [0.4, 0.6], [0, 1]]).double(),
            torch.tensor([[1, 0], [0.6, 0.4], [0.7, 0.3], [0, 1]]).double(),
        ]
    )
    opinions = Opinions(own, others)
    row = opinions.summary(uniform(4))
    assert row["differ"] == pytest.approx((1 + 1) / 8)
    assert row["least_error"] == pytest.approx(1 / 8)
    assert row["expected_error"] == pytest.approx((0.05 + 0.4 + 0.4 + 0.05) / 4)
    assert row["second"] == pytest.approx(row["expected_error"])  # of two classes
    entropies = [-p * math.log(p) - (1 - p) * math.log(1 - p) for p in (0.95, 0.6)]
    assert row["entropy"] == pytest.approx(sum(entropies) / 2)
    assert row["sure_and_differ"] == 0
    assert row["effective"] == pytest.approx(4)
    weights = torch.tensor([0.0, 0.75, 0.25, 0.0]).double()
    assert opinions.summary(weights)["differ"] == pytest.approx(0.5)
    told = opinions.errors(torch.tensor([0, 1, 1, 1]), weights)
    assert told["error"] == pytest.approx(0.75)
    assert told["error_others"] == pytest.approx(0.75 / 2 + 0.25 / 2)
    assert opinions.pairs() == [{"one": 0, "other": 1, "share": 1.0}]


def test_two_sure_classifiers_that_differ_are_counted():
    sure = one_hot(torch.tensor([3, 4]), CLASSES).double()
    row = Opinions(sure, sure.flip(0)[None]).summary(uniform(2))
    assert row["sure_and_differ"] == row["differ"] == 1


def test_mean_error_of_two_is_never_below_half_of_where_they_differ():
    rng = manual(0)
    own = torch.rand(500, CLASSES, generator=rng).double()
    others = torch.rand(2, 500, CLASSES, generator=rng).double()
    opinions, weights = Opinions(own, others), uniform(500)
    told = opinions.errors(torch.randint(CLASSES, (500,), generator=rng), weights)
    least = opinions.summary(weights)["least_error"]
    assert (told["error"] + told["error_others"]) / 2 >= least


def test_weights_of_the_tilted_test_images():
    weights = tilted_test(torch.tensor([0.0, math.log(2), math.log(3)]), 2.0)
    assert weights.tolist() == pytest.approx([1 / 14, 4 / 14, 9 / 14])


def test_features_are_standardized_by_the_training_images():
    train, test = torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([[2.0, 5.0]])
    ours, theirs = standardized(train, test)
    assert ours[:, 0].tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5])
    assert theirs.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("head", [linear, small])
def test_what_can_be_told_apart_is_learned_and_noise_is_not(head):
    y = torch.randint(CLASSES, (2000,), generator=manual(0))
    x = 3 * one_hot(y, CLASSES).float()
    assert accuracy(learned(x, y, head, 0, steps=200), x, y) == 1
    noise = torch.randn(2000, CLASSES, generator=manual(1))
    network = learned(noise[:1000], y[:1000], head, 0, steps=20)
    error = math.sqrt(0.1 * 0.9 / 1000)
    assert abs(accuracy(network, noise[1000:], y[1000:]) - 0.1) < 4 * error
