"""Training of the digits' VAE."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from btgm_cli.domains.digits.vae import VaeNetwork
from btgm_cli.domains.pretraining.settings import require_fraction, require_positive
from btgm_cli.domains.pretraining.trainee import Trainee, seeded


@dataclass(frozen=True)
class VaeSettings:
    """What shapes a VAE of digits.

    Attributes:
        steps: Steps of the optimizer.
        batch: Images to a step.
        rate: Learning rate (Adam).
        hold: Fraction of the steps before the rate starts to fall to zero.
        average: Decay of the averaged weights.
        latent_dim: Dimension of the prior N(0, I).
        hidden: Width of the decoder's fully connected layers.
        channels: Channels of the decoder's first map.
        encoder_channels: Channels of the encoder's first map.
        encoder_hidden: Width of the encoder's last layer but one.
        classifier: The classifier that judges it: a packaged name or a path.
    """

    steps: int = 12_000
    batch: int = 128
    rate: float = 1e-3
    hold: float = 0.3
    average: float = 0.998
    latent_dim: int = 10
    hidden: int = 128
    channels: int = 16
    encoder_channels: int = 16
    encoder_hidden: int = 128
    classifier: str = "classifier_mnist"

    def __post_init__(self) -> None:
        require_fraction(self, ("hold", "average"), "model.")
        whole = [name for name, value in asdict(self).items() if isinstance(value, int)]
        require_positive(self, [*whole, "rate"], "model.")


class VaeTrainee(Trainee[VaeNetwork]):
    """A VAE in training.

    Args:
        images: Images (n, 1, 28, 28) in [0, 1].
        settings: What shapes the VAE.
        seed: Seed of weights, batches and noise.
        device: Where the network lives; random numbers are drawn on the CPU for any device.
    """

    def __init__(
        self, images: Tensor, settings: VaeSettings, seed: int, device: torch.device
    ) -> None:
        self.images, self.settings = images.to(device), settings
        s = settings
        with seeded(seed) as rng:
            self.vae = VaeNetwork(
                s.latent_dim, s.hidden, s.channels, s.encoder_channels, s.encoder_hidden
            ).to(device)
        optimizer = torch.optim.Adam(self.vae.parameters(), s.rate, fused=True)
        super().__init__([self.vae], [optimizer], settings, rng)

    def descend(self, index: int) -> dict[str, float]:
        """Step on the negative ELBO of one batch."""
        s = self.settings
        chosen = torch.randint(len(self.images), (s.batch,), generator=self.rng)
        noise = torch.randn(s.batch, s.latent_dim, generator=self.rng).to(self.images.device)
        x = self.images[chosen.to(self.images.device)]
        log_prob, kl = (term.mean() for term in self.vae.bound(x, noise))
        self.optimizers[0].zero_grad()
        (kl - log_prob).backward()
        self.optimizers[0].step()
        return {"negative ELBO": (kl - log_prob).item(), "KL": kl.item()}
