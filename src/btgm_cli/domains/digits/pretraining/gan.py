"""Training of the digits' GAN, under either objective."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.domains.digits.generator import Generator
from btgm_cli.domains.digits.pretraining.critic import Critic
from btgm_cli.domains.digits.pretraining.objectives import (
    NS_R1,
    OBJECTIVES,
    critic_loss,
    generator_loss,
    penalty,
)
from btgm_cli.domains.pretraining.settings import (
    require_choice,
    require_fraction,
    require_positive,
)
from btgm_cli.domains.pretraining.trainee import Trainee, seeded


@dataclass(frozen=True)
class GanSettings:
    """What shapes a GAN.

    Attributes:
        objective: `wgan_gp` or `ns_r1` (see `objectives`).
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
        classifier: The classifier that judges it: a packaged name or a path.
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
    classifier: str = "classifier_mnist"

    def __post_init__(self) -> None:
        require_choice("model.objective", self.objective, OBJECTIVES)
        require_fraction(self, ("hold", "beta1", "beta2", "average"), "model.")
        whole = [name for name, value in asdict(self).items() if isinstance(value, int)]
        require_positive(self, [*whole, "rate", "penalty"], "model.")
        if self.batch % 32:
            raise SettingError("model.batch", self.batch, "must be a multiple of 32")


class GanTrainee(Trainee[Generator]):
    """A generator in training, with its critic.

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
        with seeded(seed) as rng:
            self.generator = Generator(settings.latent_dim, settings.hidden, settings.channels).to(
                device
            )
            self.critic = Critic(settings.critic_channels, settings.critic_hidden).to(device)
        networks = [self.generator, self.critic]
        super().__init__(networks, [_adam(each, settings) for each in networks], settings, rng)

    def descend(self, index: int) -> dict[str, float]:
        """Step the critic, then the generator on the critic's last fakes."""
        s = self.settings
        for turn in range(s.critic_steps):
            fake = self._fakes()
            critic = self._step_critic(fake.detach(), index * s.critic_steps + turn)
        generator = self._step_generator(fake)
        return {"critic": critic, "generator": generator}

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


def _adam(network: torch.nn.Module, settings: GanSettings) -> torch.optim.Adam:
    betas = (settings.beta1, settings.beta2)
    return torch.optim.Adam(network.parameters(), settings.rate, betas, fused=True)
