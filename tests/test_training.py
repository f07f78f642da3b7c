"""Objectives against closed forms; trainings that are killed, resumed, misconfigured."""

from dataclasses import asdict, replace

import pytest
import torch

from btgm_cli.core.errors import SettingError
from btgm_cli.domains.digits.generator import Digits, Generator
from btgm_cli.domains.digits.mnist import Mnist
from btgm_cli.domains.digits.pretraining.classifier import (
    ClassifierSettings,
    ClassifierTrainee,
    distort,
)
from btgm_cli.domains.digits.pretraining.critic import Critic
from btgm_cli.domains.digits.pretraining.discriminator import (
    DiscriminatorSettings,
    DiscriminatorTrainee,
)
from btgm_cli.domains.digits.pretraining.gan import GanSettings, GanTrainee
from btgm_cli.domains.digits.pretraining.objectives import (
    critic_loss,
    generator_loss,
    penalty,
)
from btgm_cli.domains.digits.pretraining.vae import VaeSettings, VaeTrainee
from btgm_cli.domains.pretraining.loop import STATE_FILE, run_loop
from btgm_cli.domains.pretraining.penalties import gradient_penalty, r1_penalty
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.domains.pretraining.trainee import falling, moving_average, seeded
from btgm_cli.store.checkpoints import read_torch_file

NS_R1 = GanSettings(
    steps=6,
    batch=32,
    penalty_every=2,
    latent_dim=2,
    hidden=8,
    channels=2,
    critic_channels=2,
    critic_hidden=8,
)
WGAN_GP = replace(NS_R1, objective="wgan_gp", critic_steps=2, penalty=10.0, penalty_every=1)
CLASSIFIER = ClassifierSettings(steps=6, batch=8, channels=2, hidden=8)
VAE = VaeSettings(
    steps=6, batch=8, latent_dim=2, hidden=8, channels=2, encoder_channels=2, encoder_hidden=8
)
DISCRIMINATOR = DiscriminatorSettings(
    "mine", steps=6, batch=8, channels=2, hidden=8, spectral_norm=True, gradient_penalty=1.0
)
TRAININGS = {
    "ns_r1": NS_R1,
    "wgan_gp": WGAN_GP,
    "classifier": CLASSIFIER,
    "vae": VAE,
    "discriminator": DISCRIMINATOR,
}


@pytest.fixture(scope="module")
def digits() -> Mnist:
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(40, 1, 28, 28, generator=rng)
    labels = torch.arange(40) % 10
    return Mnist(images, labels, images[:20], labels[:20])


def manual(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rng() -> torch.Generator:
    return manual(1)


def trainee_of(settings, digits, seed=0):
    at = settings, seed, torch.device("cpu")
    if isinstance(settings, GanSettings):
        return GanTrainee(digits.train_images, *at)
    if isinstance(settings, VaeSettings):
        return VaeTrainee(digits.train_images, *at)
    if isinstance(settings, DiscriminatorSettings):
        with seeded(0):
            generator = Digits(Generator(latent_dim=2, hidden=8, channels=2))
        return DiscriminatorTrainee(digits.train_images, generator, *at)
    return ClassifierTrainee(digits.train_images, digits.train_labels, *at)


def go(settings, run, digits):
    trainee = trainee_of(settings, digits, run.seed)
    record = run_loop(trainee, settings, run)
    return trainee.network.state_dict(), record


def same(ours, theirs) -> bool:
    return (
        all(torch.equal(ours[key], theirs[key]) for key in ours) and ours.keys() == theirs.keys()
    )


@pytest.mark.parametrize("name", TRAININGS)
def test_killed_and_resumed_is_the_same_to_the_bit(name, digits, tmp_path, monkeypatch):
    settings = TRAININGS[name]
    whole = RunSettings("net", out=str(tmp_path / "whole"), save_every=2, device="cpu")
    parted = replace(whole, out=str(tmp_path / "parted"))
    expected, record = go(settings, whole, digits)
    trainee = type(trainee_of(settings, digits))
    step = trainee.step

    def killed(self, index):
        if index == 3:
            raise KeyboardInterrupt
        return step(self, index)

    monkeypatch.setattr(trainee, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        go(settings, parted, digits)
    monkeypatch.setattr(trainee, "step", step)
    found, resumed = go(settings, replace(parted, resume=True), digits)
    assert same(found, expected)
    assert resumed.step == record.step == settings.steps
    assert resumed.pending == record.pending


@pytest.mark.parametrize("name", TRAININGS)
def test_training_moves_the_weights_and_the_seed_decides_where(name, digits, tmp_path):
    settings = TRAININGS[name]
    ends = []
    for seed in (0, 0, 1):
        run = RunSettings("net", seed=seed, out=str(tmp_path / str(len(ends))), device="cpu")
        ends.append(go(settings, run, digits)[0])
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])
    assert all(bool(tensor.isfinite().all()) for tensor in ends[0].values())


def test_resume_needs_a_state_of_the_same_training(digits, tmp_path):
    run = RunSettings("net", out=str(tmp_path), resume=True, device="cpu")
    with pytest.raises(SettingError, match=r"resume=True: .*not found"):
        go(NS_R1, run, digits)
    go(NS_R1, replace(run, resume=False), digits)
    with pytest.raises(SettingError, match=r"batch=64: this training began with 32"):
        go(replace(NS_R1, batch=64), run, digits)
    with pytest.raises(SettingError, match=r"seed=5"):
        go(NS_R1, replace(run, seed=5), digits)
    state = read_torch_file(tmp_path / STATE_FILE)
    del state["trainee"]["average"]
    torch.save(state, tmp_path / STATE_FILE)
    with pytest.raises(SettingError, match=r"resume=True: .*of another version; train anew"):
        go(NS_R1, run, digits)
    (tmp_path / STATE_FILE).write_bytes(b"half a st")
    with pytest.raises(SettingError, match=r"resume=True: .*cannot be read"):
        go(NS_R1, run, digits)


def test_losses_are_recorded_as_means(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("btgm_cli.domains.pretraining.loop.RECORD_EVERY", 2)
    monkeypatch.setattr(ClassifierTrainee, "step", lambda self, index: {"loss": float(index)})
    run = RunSettings("net", out=str(tmp_path), device="cpu")
    _, record = go(CLASSIFIER, run, digits)
    assert record.history == [
        {"step": 2.0, "loss": 0.5},
        {"step": 4.0, "loss": 2.5},
        {"step": 6.0, "loss": 4.5},
    ]


def linear(slope):
    """A critic with the gradient `slope` everywhere."""
    return lambda x: x.flatten(1) @ slope


def test_penalties_of_a_linear_critic_are_known():
    slope = torch.tensor([3.0, 4.0])
    real, fake = torch.zeros(6, 1, 1, 2), torch.ones(6, 1, 1, 2)
    assert r1_penalty(linear(slope), real).item() == pytest.approx(12.5)
    assert gradient_penalty(linear(slope), real, fake, rng()).item() == pytest.approx(16.0)
    assert penalty("ns_r1", linear(slope), real, fake, rng()).item() == pytest.approx(12.5)
    assert penalty("wgan_gp", linear(slope), real, fake, rng()).item() == pytest.approx(16.0)


def test_penalties_can_be_differentiated_in_the_critic():
    slope = torch.tensor([3.0, 4.0], requires_grad=True)
    real, fake = torch.zeros(6, 2), torch.ones(6, 2)
    (of_r1,) = torch.autograd.grad(r1_penalty(linear(slope), real), slope)
    (of_gp,) = torch.autograd.grad(gradient_penalty(linear(slope), real, fake, rng()), slope)
    assert torch.allclose(of_r1, torch.tensor([3.0, 4.0]))
    assert torch.allclose(of_gp, 2 * (5 - 1) * torch.tensor([0.6, 0.8]))


def test_gradient_penalty_looks_between_real_and_fake_and_r1_at_the_real():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).square().sum(1) / 2

    real, fake = torch.full((50, 1, 3, 3), 2.0), torch.full((50, 1, 3, 3), 5.0)
    value = gradient_penalty(critic, real, fake, rng())
    u = (seen[0] - fake) / (real - fake)
    assert torch.allclose(u, u[:, :, :1, :1].expand_as(u), atol=1e-6)
    assert 0 <= u.min() < 0.2
    assert 0.8 < u.max() <= 1
    norms = seen[0].flatten(1).norm(dim=1)
    assert value.item() == pytest.approx((norms - 1).square().mean().item(), rel=1e-5)
    assert r1_penalty(critic, real).item() == pytest.approx(0.5 * 9 * 4)
    assert torch.equal(seen[1], real)


def test_objectives_at_known_scores():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.5, -0.5])
    assert critic_loss("wgan_gp", real, fake).item() == pytest.approx(-2.0)
    assert generator_loss("wgan_gp", fake).item() == pytest.approx(0.0)
    sure, fooled = real.sigmoid().log().mean(), fake.sigmoid().log().mean()
    doubted = (1 - fake.sigmoid()).log().mean()
    assert critic_loss("ns_r1", real, fake).item() == pytest.approx(-(sure + doubted).item())
    assert generator_loss("ns_r1", fake).item() == pytest.approx(-fooled.item())


def test_critic_notices_a_generator_that_repeats_itself():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = Critic(channels=2, hidden=8, group=4)
    x = torch.rand(8, 1, 28, 28, generator=rng())
    x[4:] = x[3:4]
    scores = critic(x)
    assert scores.shape == (8,)
    assert torch.allclose(scores[4:], scores[4].expand(4))
    assert not torch.allclose(scores[3], scores[4], rtol=1e-6)


def linear_at(value: float) -> torch.nn.Linear:
    with seeded(0):
        network = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(network.weight, value)
    return network


def test_the_average_follows_its_formula():
    """At step k the past weighs min(decay, (1 + k) / (10 + k))."""
    average = moving_average(linear_at(0.0), 0.15)
    average.update_parameters(linear_at(1.0))
    assert average.module.weight.item() == pytest.approx(0.9)
    average.update_parameters(linear_at(1.0))
    assert average.module.weight.item() == pytest.approx(0.15 * 0.9 + 0.85)
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_the_rate_is_held_then_falls_to_zero():
    factor = falling(100, hold=0.5)
    assert [factor(step) for step in (0, 50, 75, 100)] == pytest.approx([1.0, 1.0, 0.5, 0.0])


@pytest.mark.parametrize("name", TRAININGS)
def test_every_step_has_its_rate(name, digits):
    settings = replace(TRAININGS[name], hold=0.5)
    trainee = trainee_of(settings, digits)
    for step in range(settings.steps):
        expected = settings.rate * min(1.0, (6 - step) / 3)
        for optimizer in trainee.optimizers:
            assert [group["lr"] for group in optimizer.param_groups] == [expected]
        trainee.step(step)


def test_weights_are_of_their_seed_and_torchs_own_state_is_left_alone():
    before = torch.get_rng_state()
    with seeded(3) as generator:
        weight = torch.nn.Linear(4, 4).weight
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(3):
        assert torch.equal(torch.nn.Linear(4, 4).weight, weight)
    assert torch.equal(torch.rand(2, generator=generator), torch.rand(2, generator=manual(3)))


def test_distortion_of_nothing_changes_nothing_and_a_shift_moves():
    x = torch.zeros(1, 1, 28, 28)
    x[0, 0, 14, 14] = 1
    still = ClassifierSettings(rotate=0.0, scale=0.0, shift=0.0)
    assert torch.allclose(distort(x, still, rng()), x, atol=1e-5)
    moved = distort(x, replace(still, shift=4.0), rng())
    assert moved.sum().item() == pytest.approx(1.0, abs=1e-4)
    assert moved[0, 0, 14, 14] < 0.5
    assert not torch.allclose(distort(x, replace(still, rotate=90.0), rng()), x, atol=1e-2)


BAD_SETTINGS = {
    "model.objective='lsgan': choose one of wgan_gp, ns_r1": {"objective": "lsgan"},
    "model.steps=0: must be positive": {"steps": 0},
    "model.batch=33: must be a multiple of 32": {"batch": 33},
    "model.rate=-1.0: must be positive": {"rate": -1.0},
    "model.average=1.0: must be at least 0 and below 1": {"average": 1.0},
    "model.beta2=nan: must be at least 0 and below 1": {"beta2": float("nan")},
}


@pytest.mark.parametrize("message", BAD_SETTINGS)
def test_bad_gan_setting_is_named(message):
    with pytest.raises(SettingError) as caught:
        GanSettings(**{**asdict(NS_R1), **BAD_SETTINGS[message]})
    assert str(caught.value) == message


@pytest.mark.parametrize("bad", [{"device": "tpu"}, {"threads": 0}, {"save_every": 0}])
def test_bad_run_setting_is_named(bad):
    (setting,) = bad
    with pytest.raises(SettingError, match=rf"^{setting}="):
        RunSettings("net", **bad)


def test_output_folder_is_named_after_the_network():
    assert RunSettings("net").folder.parts == ("outputs", "train", "net")
    assert RunSettings("net", out="elsewhere").folder.parts == ("elsewhere",)
