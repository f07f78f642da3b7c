"""The VAE of digits: its bound against the evidence, its card, what is refused."""

import json
import math

import pytest
import torch
from torch import nn

from btgm_cli.cli.train import main
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.digits.classifier import Classifier
from btgm_cli.domains.digits.generator import load_gan
from btgm_cli.domains.digits.mnist import Mnist
from btgm_cli.domains.digits.pretraining import jobs
from btgm_cli.domains.digits.vae import VaeNetwork, load_digits, load_vae
from btgm_cli.domains.pretraining.elbo import held_out_bound
from btgm_cli.domains.pretraining.trainee import seeded
from btgm_cli.store.checkpoints import checkpoint_hash, load_network, save_network

DIM, SCALE = 3, 0.3


def small_vae() -> VaeNetwork:
    with seeded(0):
        return VaeNetwork(DIM, hidden=8, channels=2, encoder_channels=2, encoder_hidden=8)


def linear_vae() -> tuple[VaeNetwork, torch.distributions.MultivariateNormal]:
    """A VAE with x = Wz + b + SCALE e and the exact posterior, and its evidence p(x).

    The columns of W are orthogonal, so that the posterior's covariance is diagonal:
    precision 1 + |w|^2/s^2 along each axis, mean w·(x - b)/s^2 over it.
    """
    rng = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(784, DIM, generator=rng, dtype=torch.double)).Q
    w = basis * torch.tensor([0.5, 1.0, 2.0])
    b = torch.rand(784, generator=rng, dtype=torch.double)
    variance = 1 / (1 + w.square().sum(0) / SCALE**2)
    with seeded(0):
        mean = nn.Linear(784, 2 * DIM, dtype=torch.double)
        decode = nn.Linear(DIM, 784, dtype=torch.double)
    slope = variance[:, None] * w.T / SCALE**2
    mean.weight.data = torch.cat([slope, torch.zeros(DIM, 784)])
    mean.bias.data = torch.cat([-slope @ b, variance.log() / 2])
    decode.weight.data, decode.bias.data = w, b
    vae = small_vae().double()
    vae.encoder = nn.Sequential(nn.Flatten(), mean)
    vae.decoder = nn.Sequential(decode, nn.Unflatten(1, (1, 28, 28)))
    vae.log_scale.data = torch.tensor(math.log(SCALE), dtype=torch.double)
    covariance = w @ w.T + SCALE**2 * torch.eye(784, dtype=torch.double)
    return vae, torch.distributions.MultivariateNormal(b, covariance)


def test_bound_of_a_linear_gaussian_vae_is_the_evidence():
    """log p(x | z) is quadratic in z: noise at ±√D along each axis gives its mean exactly."""
    vae, evidence = linear_vae()
    x = evidence.loc + 0.2 * torch.randn(
        5, 784, generator=torch.Generator().manual_seed(1), dtype=torch.double
    )
    axes = math.sqrt(DIM) * torch.eye(DIM, dtype=torch.double)
    noise = torch.cat([axes, -axes])
    for image, expected in zip(x, evidence.log_prob(x), strict=True):
        log_prob, kl = vae.bound(image.view(1, 1, 28, 28).expand(2 * DIM, -1, -1, -1), noise)
        assert (log_prob - kl).mean().item() == pytest.approx(expected.item(), rel=1e-9)


def test_bound_of_any_other_posterior_is_below_the_evidence():
    vae, evidence = linear_vae()
    vae.encoder[1].bias.data += 0.1
    rng = torch.Generator().manual_seed(1)
    x = evidence.loc + 0.2 * torch.randn(500, 784, generator=rng, dtype=torch.double)
    elbo, kl = held_out_bound(vae, x.view(-1, 1, 28, 28))
    assert kl > 0
    assert elbo < evidence.log_prob(x).mean().item()


def test_vae_decodes_to_its_means(tmp_path):
    save_network(path := tmp_path / "mine.safetensors", small_vae())
    z = torch.linspace(-1, 1, 4 * DIM).view(4, DIM)
    for model in (load_vae(str(path)), load_digits(str(path), "generator")):
        assert torch.equal(model.decode(z), small_vae().decoder(z))
        assert model.checkpoint_sha256 == checkpoint_hash(str(path))


def test_any_generator_of_digits_is_found():
    z = torch.zeros(1, 10)
    gan = load_digits("gan_mnist", "generator")
    assert torch.equal(gan.decode(z), load_gan().decode(z))
    assert gan.checkpoint_sha256 == checkpoint_hash("gan_mnist")


def test_another_network_is_no_vae():
    with pytest.raises(SettingError, match=r"holds a generator, expected a digits_vae; choose"):
        load_vae("gan_mnist")


def test_card_tells_elbo_reconstruction_and_the_gans_gates(tmp_path, monkeypatch, capsys):
    images = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    mnist = Mnist(images, torch.arange(40) % 10, images[:20], torch.arange(20) % 10)
    monkeypatch.setattr(jobs, "load_mnist", lambda data_dir: mnist)
    monkeypatch.setattr("btgm_cli.domains.digits.pretraining.gates.SAMPLES", 200)
    with seeded(0):
        save_network(tmp_path / "judge.safetensors", Classifier(2, 8))
    widths = ["hidden=8", "channels=2", "encoder_channels=2", "encoder_hidden=8", "batch=8"]
    given = [f"model.{width}" for width in [*widths, "steps=2"]]
    judge = f"model.classifier={tmp_path / 'judge.safetensors'}"
    out = tmp_path / "out"
    command = ["model=vae_mnist", *given, judge, "device=cpu", "threads=1", f"out={out}"]
    assert main(command) == 0  # nothing that a VAE must reach
    card = json.loads((out / "vae_mnist.json").read_text())
    network = load_network(VaeNetwork, str(out / "vae_mnist.safetensors"))
    mean, _ = network.posterior(mnist.test_images)
    error = (network.decoder(mean) - mnist.test_images).square().mean().sqrt().item()
    metrics = card["metrics"]
    assert metrics["held_out_reconstruction_rmse"] == pytest.approx(error, rel=1e-5)
    elbo, kl = held_out_bound(network, mnist.test_images)
    assert (metrics["held_out_elbo_nats"], metrics["held_out_kl_nats"]) == (elbo, kl)
    assert card["gates"] == []
    assert card["told_gates"][0]["name"] == "smallest share of a digit"
    assert not all(gate["passed"] for gate in card["told_gates"])
    assert "FAIL" in capsys.readouterr().out
