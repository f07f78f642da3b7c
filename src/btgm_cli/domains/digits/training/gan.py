"""Training of the digits' GAN, under either objective."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.domains.digits.generator import Generator
from btgm_cli.domains.digits.mnist import Mnist
from btgm_cli.domains.digits.training.critic import Critic
from btgm_cli.domains.digits.training.objectives import (
    NS_R1,
    OBJECTIVES,
    critic_loss,
    generator_loss,
    penalty,
)
from btgm_cli.domains.pretraining.averaging import decayed, set_rate, update_average
from btgm_cli.domains.pretraining.loop import Progress, run_loop
from btgm_cli.domains.pretraining.settings import (
    RunSettings,
    require_choice,
    require_fraction,
    require_positive,
)


@dataclass(frozen=True)
class GanSettings:
    """What shapes a GAN.

    Attributes:
        objective: `wgan_gp` or `ns_r1` (see `training.objectives`).
        steps: Steps of the generator.
        batch: Real images, and as many generated ones, to a step: a multiple of 32.
        rate: Learning rate of both networks (Adam).
        hold: Fraction of the steps before the rate starts to fall to zero.
        beta1: Adam's first decay.
        beta2: Adam's second decay.
        critic_steps: Steps of the critic for each of the generator.
        penalty: Weight of the objective's penalty.
        penalty_every: Steps between two penalties, each scaled up to make good for the others
            (Analyzing and Improving the Image Quality of StyleGAN, Karras et al., 2020,
            https://arxiv.org/abs/1912.04958, section 3.1).
        average: Decay of the averaged generator weights.
        latent_dim: Dimension of the prior N(0, I).
        hidden: Width of the generator's fully connected layers.
        channels: Channels of the generator's first map.
        critic_channels: Channels of the critic's first map.
        critic_hidden: Width of the critic's fully connected layer.
    """

    objective: str = NS_R1
    steps: int = 17_000
    batch: int = 64
    rate: float = 1e-3
    hold: float = 0.5
    beta1: float = 0.0
    beta2: float = 0.99
    critic_steps: int = 1
    penalty: float = 0.5
    penalty_every: int = 16
    average: float = 0.999
    latent_dim: int = 10
    hidden: int = 256
    channels: int = 16
    critic_channels: int = 24
    critic_hidden: int = 256

    def __post_init__(self) -> None:
        require_choice("model.objective", self.objective, OBJECTIVES)
        require_fraction(self, ("hold", "beta1", "beta2", "average"), "model.")
        whole = [name for name, value in asdict(self).items() if isinstance(value, int)]
        require_positive(self, [*whole, "rate", "penalty"], "model.")
        if self.batch % 32:
            raise SettingError("model.batch", self.batch, "must be a multiple of 32")


class GanTrainee:
    """Generator, its average, critic, their optimizers and the one source of randomness.

    Args:
        images: Real images (n, 1, 28, 28) in [0, 1].
        settings: What shapes the GAN.
        seed: Seed of weights, batches and noise.
        device: Where the networks live; random numbers are drawn on the CPU for any device.
    """

    def __init__(
        self, images: Tensor, settings: GanSettings, seed: int, device: torch.device
    ) -> None:
        self.images = images.to(device)
        self.settings = settings
        self.device = device
        self.rng = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = Generator(settings.latent_dim, settings.hidden, settings.channels).to(
                device
            )
            self.critic = Critic(settings.critic_channels, settings.critic_hidden).to(device)
        self.network = copy.deepcopy(self.generator).requires_grad_(False)
        self.optimizers = [_adam(self.generator, settings), _adam(self.critic, settings)]

    def step(self, index: int) -> dict[str, float]:
        """Step the critic, then the generator on the critic's last fakes."""
        s = self.settings
        rate = decayed(s.rate, index, s.steps, s.hold)
        for optimizer in self.optimizers:
            set_rate(optimizer, rate)
        for turn in range(s.critic_steps):
            fake = self._fakes()
            critic = self._step_critic(fake.detach(), index * s.critic_steps + turn)
        generator = self._step_generator(fake)
        update_average(self.network, self.generator, s.average, index)
        return {"critic": critic, "generator": generator}

    def state_dict(self) -> dict[str, Any]:
        """Weights of the three networks, both optimizers, the random state."""
        return {
            "generator": self.generator.state_dict(),
            "critic": self.critic.state_dict(),
            "average": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "rng": self.rng.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned."""
        self.generator.load_state_dict(state["generator"])
        self.critic.load_state_dict(state["critic"])
        self.network.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.rng.set_state(state["rng"])

    def _fakes(self) -> Tensor:
        shape = (self.settings.batch, self.settings.latent_dim)
        fakes: Tensor = self.generator(torch.randn(shape, generator=self.rng).to(self.device))
        return fakes

    def _step_critic(self, fake: Tensor, index: int) -> float:
        s = self.settings
        chosen = torch.randint(len(self.images), (s.batch,), generator=self.rng)
        real = self.images[chosen.to(self.device)]
        scores = self.critic(torch.cat([real, fake]))
        loss = critic_loss(s.objective, scores[: s.batch], scores[s.batch :])
        self.optimizers[1].zero_grad()
        loss.backward()
        if index % s.penalty_every == 0:
            price = penalty(s.objective, self.critic, real, fake, self.rng)
            (s.penalty * s.penalty_every * price).backward()
        self.optimizers[1].step()
        return loss.item()

    def _step_generator(self, fake: Tensor) -> float:
        self.critic.requires_grad_(False)
        loss = generator_loss(self.settings.objective, self.critic(fake))
        self.optimizers[0].zero_grad()
        loss.backward()
        self.critic.requires_grad_(True)
        self.optimizers[0].step()
        return loss.item()


def train_gan(settings: GanSettings, run: RunSettings, data: Mnist) -> tuple[Generator, Progress]:
    """Train a generator on the training images; its averaged weights and how it went.

    Raises:
        SettingError: `run.resume` without a state to go on from, or with another one's.
    """
    trainee = GanTrainee(data.train_images, settings, run.seed, run.torch_device)
    progress = run_loop(trainee, settings.steps, run, {**asdict(settings), "seed": run.seed})
    return trainee.network, progress


def _adam(network: torch.nn.Module, settings: GanSettings) -> torch.optim.Adam:
    betas = (settings.beta1, settings.beta2)
    return torch.optim.Adam(network.parameters(), settings.rate, betas, fused=True)
