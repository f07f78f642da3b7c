"""Discriminators of real and generated digits, and their logit as a criterion."""

import json
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from btgm_cli import load_criterion, load_model
from btgm_cli.cli import main as btgm
from btgm_cli.cli.config import compose_config
from btgm_cli.cli.train import main
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import settled
from btgm_cli.core.prior import StandardNormal
from btgm_cli.domains.digits.criteria import RealLogOdds
from btgm_cli.domains.digits.discriminator import Discriminator, slopes
from btgm_cli.domains.digits.generator import Digits, Generator
from btgm_cli.domains.digits.mnist import Mnist
from btgm_cli.domains.digits.pretraining import jobs
from btgm_cli.domains.digits.pretraining.discriminator import (
    DiscriminatorSettings,
    DiscriminatorTrainee,
    fitting_temperature,
)
from btgm_cli.domains.digits.vae import VaeNetwork
from btgm_cli.domains.pretraining.gates import SAMPLE_SEED
from btgm_cli.domains.pretraining.trainee import seeded
from btgm_cli.store.checkpoints import checkpoint_hash, load_network, save_network

CPU = torch.device("cpu")
TINY = DiscriminatorSettings("mine", steps=100, batch=64, channels=2, hidden=16, rate=1e-2)
SHIFT = torch.tensor([1.5, -1.0])


class Plane(nn.Module):
    """z (n, 2) to images whose left half has brightness z_1 and whose right half has z_2."""

    latent_dim = 2

    def forward(self, z: Tensor) -> Tensor:
        return z.repeat_interleave(14, 1)[:, None, None].expand(-1, 1, 28, 28)


def manual(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(images: Tensor, generator: nn.Module, **changed) -> Discriminator:
    settings = DiscriminatorSettings(**{**vars(TINY), **changed})
    trainee = DiscriminatorTrainee(images, Digits(generator), settings, 0, CPU)
    for index in range(settings.steps):
        trainee.step(index)
    return trainee.network


def test_logit_of_two_gaussians_is_their_log_density_ratio():
    """N(m, I) against N(0, I): log p_D(x) / p(x) = m·z - |m|^2 / 2."""
    z = torch.randn(6_000, 2, generator=manual(1))
    network = trained(Plane()(z + SHIFT), Plane(), steps=300)
    z = torch.randn(4_000, 2, generator=manual(2))
    z = torch.cat([z[:2_000] + SHIFT, z[2_000:]])
    signs = torch.tensor([1.0, -1.0]).repeat_interleave(2_000)
    exact = z @ SHIFT - SHIFT.square().sum() / 2
    found = network(Plane()(z))
    excess = softplus(-signs * found) - softplus(-signs * exact)
    assert excess.mean().item() < 0.01  # nats; of not knowing anything: 0.3
    assert (found - exact).square().mean().sqrt() < 0.2 * exact.std()


def test_temperature_makes_odds_those_that_are_held():
    """Logits of ±3, nine in ten of the right sign: odds are 9, so that 3 / T = log 9."""
    signed = 3 * torch.tensor([1.0] * 9 + [-1.0]).double()
    assert fitting_temperature(signed) == pytest.approx(3 / math.log(9), rel=1e-4)


@pytest.mark.slow
def test_smoothed_labels_bound_the_logit():
    """Images without doubt: targets are 0.9 and 0.1, so that f is ±log 9."""

    class Black(Plane):
        def forward(self, z: Tensor) -> Tensor:
            return torch.zeros(len(z), 1, 28, 28)

    white = torch.ones(240, 1, 28, 28)
    network = trained(white, Black(), label_smoothing=0.2, temperature=1.0)
    ends = network(torch.stack([white[0], 0 * white[0]]))
    assert ends.tolist() == pytest.approx([math.log(9), -math.log(9)], abs=0.05)


@pytest.mark.slow
def test_spectral_norm_leaves_plain_layers_of_norm_one():
    z = torch.randn(600, 2, generator=manual(1))
    network = trained(Plane()(z + SHIFT), Plane(), spectral_norm=True, temperature=1.0)
    with seeded(0):
        assert network.state_dict().keys() == Discriminator(2, 16).state_dict().keys()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
            assert largest == pytest.approx(1.0, abs=0.05)


def test_gradient_penalty_flattens_the_slopes():
    images = Plane()(torch.randn(600, 2, generator=manual(1)) + SHIFT)
    at = torch.randn(200, 2, generator=manual(2))
    steep, flat = (
        slopes(
            trained(images, Plane(), steps=40, gradient_penalty=weight, temperature=1.0),
            Digits(Plane()),
            at,
        )
        for weight in (0.0, 100.0)
    )
    assert flat.mean() < 0.5 * steep.mean()


@pytest.fixture
def generator(tmp_path) -> str:
    path = tmp_path / "mine.safetensors"
    with seeded(0):
        save_network(path, Generator(latent_dim=3, hidden=8, channels=2))
    return str(path)


def discriminator_of(generator: str, path, *, scale: float = 1.0) -> str:
    """The path of an untrained discriminator, with this slope where 1 is some 5e-5 nats."""
    with seeded(1):
        network = Discriminator(4, 32, checkpoint_hash(generator))
    network.head.weight.data *= scale
    save_network(path, network)
    return str(path)


def test_criterion_is_the_logit_and_tells_the_digits(generator, tmp_path):
    of = discriminator_of(generator, tmp_path / "d.safetensors")
    model = load_model("gan_mnist", checkpoint=generator)
    criterion = settled(RealLogOdds(of), model, manual(0))
    x = model.decode(model.sample_prior(5, manual(1)))
    assert torch.equal(criterion(x), load_network(Discriminator, of)(x))
    assert criterion.classes(x).shape == (5,)
    assert criterion.n_classes == 10


def test_discriminator_of_another_generator_is_refused(generator, tmp_path):
    of = discriminator_of(generator, tmp_path / "d.safetensors")
    with pytest.raises(
        SettingError, match=r"criterion\.discriminator=.*another generator"
    ) as told:
        settled(RealLogOdds(of), load_model("gan_mnist"), manual(0))
    assert checkpoint_hash(generator)[:14] in str(told.value)
    assert checkpoint_hash("gan_mnist")[:14] in str(told.value)
    assert "\n" not in str(told.value)


def test_images_of_another_size_are_refused(generator, tmp_path):
    class Wide(StandardNormal):
        def decode(self, z: Tensor) -> Tensor:
            return z[:, :1, None, None].expand(-1, 1, 32, 32)

    of = discriminator_of(generator, tmp_path / "d.safetensors")
    with pytest.raises(SettingError, match=r"images of shape \(1, 28, 28\), .*\(1, 32, 32\)"):
        settled(RealLogOdds(of), Wide(2), manual(0))


def test_saturated_discriminator_is_refused(generator, tmp_path):
    of = discriminator_of(generator, tmp_path / "d.safetensors", scale=1e-2)
    with pytest.raises(SettingError, match=r"saturated: .* below 1e-06 on 100% of the draws"):
        settled(RealLogOdds(of), load_model("gan_mnist", checkpoint=generator), manual(0))


def test_the_command_refuses_in_a_line_before_any_work(generator, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flat = discriminator_of(generator, tmp_path / "d.safetensors", scale=1e-2)
    mine = ["model=gan_mnist", f"model.checkpoint={generator}"]
    cases = [
        (["model=gan_mnist"], "belongs to another generator"),
        (["model=gaussian"], "judges images of shape (1, 28, 28), this model gives x of"),
        ([*mine, f"criterion.discriminator={flat}"], "is saturated"),
    ]
    for asked, why in cases:
        assert btgm(["run", "criterion=discriminator", *asked, "threads=1", "out=new"]) == 2
        told = capsys.readouterr().err.strip()
        assert told.startswith("btgm run: criterion.discriminator=")
        assert why in told
        assert "\n" not in told
        assert not (tmp_path / "new").exists()


def test_no_discriminator_is_refused():
    with pytest.raises(SettingError, match=r"criterion\.discriminator='gan_mnist': holds a gen"):
        load_criterion("discriminator", discriminator="gan_mnist")


def test_card_names_the_generator(generator, tmp_path, monkeypatch, capsys):
    images = torch.rand(60, 1, 28, 28, generator=manual(0))
    labels = torch.arange(60) % 10
    monkeypatch.setattr(jobs, "load_mnist", lambda _: Mnist(images, labels, images, labels))
    monkeypatch.setattr(jobs, "SAMPLES", 200)
    small = ["model.steps=2", "model.batch=8", "model.channels=2", "model.hidden=8"]
    out = tmp_path / "out"
    asked = ["model=discriminator", f"generator={generator}", "device=cpu", "threads=1"]
    assert main([*asked, *small, f"out={out}"]) == 3  # two steps pass no gate
    card = json.loads((out / "discriminator_mine.json").read_text())
    assert card["generator_sha256"] == checkpoint_hash(generator)
    assert card["settings"]["generator"] == generator
    assert card["command"].startswith(f"btgm train model=discriminator generator={generator}")
    trained = capsys.readouterr().out
    checkpoint = f"checkpoint={out / 'discriminator_mine.safetensors'}"
    assert main([*asked, "evaluate_only=true", checkpoint]) == 3
    assert capsys.readouterr().out == trained
    with pytest.raises(SettingError, match=r"^checkpoint=.*another generator"):
        main(["model=discriminator", "generator=gan_mnist", "evaluate_only=true", checkpoint])


def test_rebuilt_images_are_decoded_from_draws_of_the_posterior(tmp_path):
    path = tmp_path / "vae.safetensors"
    with seeded(0):
        vae = VaeNetwork(2, 8, 2, encoder_channels=2, encoder_hidden=8)
        save_network(path, vae)
    images = torch.rand(40, 1, 28, 28, generator=manual(0))
    data = jobs.rebuilt(Mnist(images, torch.zeros(40), images[:5], torch.zeros(5)), str(path))
    assert data.train_images.shape == images.shape
    mean, log_scale = vae.posterior(images)
    noise = torch.randn(40, 2, generator=manual(SAMPLE_SEED + 2))
    assert torch.allclose(data.train_images, vae.decoder(mean + log_scale.exp() * noise))
    # The same images anew: other draws of the posterior, so that train and test share none.
    assert not torch.allclose(data.test_images, data.train_images[:5])


def test_only_a_vae_rebuilds(tmp_path):
    data = Mnist(*[torch.zeros(1, 1, 28, 28)] * 4)
    with pytest.raises(SettingError, match=r"^generator='gan_mnist': "):
        jobs.rebuilt(data, "gan_mnist")
    assert DiscriminatorSettings("a/mine.pt", rebuilt=True).name == "discriminator_mine_rebuilt"


def test_the_packaged_criterion_of_rebuilt_images_belongs_to_the_vae():
    cfg = compose_config("run", ["experiment=refine"])
    network = load_network(Discriminator, cfg.criterion.discriminator)
    assert network.generator_sha256 == checkpoint_hash("vae_mnist")


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 0.0), ("gradient_penalty", -1.0), ("label_smoothing", 1.0), ("steps", 0)],
)
def test_bad_setting_is_named(name, value):
    with pytest.raises(SettingError, match=rf"^model\.{name}="):
        DiscriminatorSettings("gan_mnist", **{name: value})
