"""A VAE that is given the class: what tuning a VAE towards a class is compared with."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from btgm_cli.domains.digits.classifier import convolutions
from btgm_cli.domains.digits.generator import Generator
from btgm_cli.domains.digits.pretraining.vae import VaeSettings
from btgm_cli.domains.digits.vae import gaussian_terms
from btgm_cli.domains.pretraining.trainee import Trainee, seeded
from btgm_cli.store.checkpoints import StoredNetwork

CLASSES = 10


class ConditionalVae(StoredNetwork):
    """A VAE p(x | z, y) p(z) of images x (n, 1, 28, 28) in [0, 1] and their classes y (n,).

    It is `domains.digits.vae.VaeNetwork` with y, as ten zeros and ones, beside z at the decoder's
    entrance and beside the image's features at the encoder's last layer; the prior N(0, I) does
    not depend on y.

    Semi-Supervised Learning with Deep Generative Models (Kingma et al., 2014),
    https://arxiv.org/abs/1406.5298, Eq. 6, with all labels known.

    Args:
        latent_dim: Dimension of z.
        hidden: Width of the decoder's fully connected layers.
        channels: Channels of the decoder's first map.
        encoder_channels: Channels of the encoder's first map.
        encoder_hidden: Width of the encoder's last layer but one.
    """

    family: ClassVar[str] = "conditional_vae"

    def __init__(
        self,
        latent_dim: int = 10,
        hidden: int = 128,
        channels: int = 16,
        encoder_channels: int = 16,
        encoder_hidden: int = 128,
    ) -> None:
        super().__init__()
        self.architecture = {
            "latent_dim": latent_dim,
            "hidden": hidden,
            "channels": channels,
            "encoder_channels": encoder_channels,
            "encoder_hidden": encoder_hidden,
        }
        self.latent_dim = latent_dim
        self.decoder = Generator(latent_dim + CLASSES, hidden, channels)
        self.features = convolutions(encoder_channels, encoder_hidden)
        self.head = nn.Linear(encoder_hidden + CLASSES, 2 * latent_dim)
        self.log_scale = nn.Parameter(torch.tensor(-1.0))

    def decode(self, z: Tensor, y: Tensor) -> Tensor:
        """Images (n, 1, 28, 28): the means of p(x | z, y), for z (n, latent_dim) and y (n,)."""
        images: Tensor = self.decoder(_given(z, y))
        return images

    def posterior(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x, y), each (n, latent_dim)."""
        mean, log_scale = self.head(_given(self.features(x), y)).chunk(2, 1)
        return mean, log_scale

    def bound(self, x: Tensor, y: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The terms of the ELBO of log p(x | y), nats, each (n,): log p(x | z, y) and the KL.

        Args:
            x: Images (n, 1, 28, 28).
            y: Their classes (n,).
            noise: Standard normal draws (n, latent_dim), which make the draws of q(z | x, y).
        """
        mean, log_scale = self.posterior(x, y)
        rebuilt = self.decode(mean + log_scale.exp() * noise, y)
        return gaussian_terms(x, rebuilt, self.log_scale, mean, log_scale)


class ConditionalTrainee(Trainee[ConditionalVae]):
    """A conditional VAE in training, at the settings of the VAE that ships.

    Args:
        images: Images (n, 1, 28, 28) in [0, 1].
        labels: Their classes (n,).
        settings: What shapes the VAE.
        seed: Seed of weights, batches and noise.
    """

    def __init__(self, images: Tensor, labels: Tensor, settings: VaeSettings, seed: int) -> None:
        self.images, self.labels, self.settings = images, labels, settings
        s = settings
        with seeded(seed) as rng:
            self.vae = ConditionalVae(
                s.latent_dim, s.hidden, s.channels, s.encoder_channels, s.encoder_hidden
            )
        optimizer = torch.optim.Adam(self.vae.parameters(), s.rate, fused=True)
        super().__init__([self.vae], [optimizer], settings, rng)

    def descend(self, index: int) -> dict[str, float]:
        """Step on the negative ELBO of one batch."""
        s = self.settings
        chosen = torch.randint(len(self.images), (s.batch,), generator=self.rng)
        noise = torch.randn(s.batch, s.latent_dim, generator=self.rng)
        terms = self.vae.bound(self.images[chosen], self.labels[chosen], noise)
        log_prob, kl = (term.mean() for term in terms)
        self.optimizers[0].zero_grad()
        (kl - log_prob).backward()
        self.optimizers[0].step()
        return {"negative ELBO": (kl - log_prob).item(), "KL": kl.item()}


def _given(features: Tensor, y: Tensor) -> Tensor:
    """Features (n, D) with the classes y (n,) beside them, (n, D + 10)."""
    return torch.cat([features, one_hot(y, CLASSES).to(features)], 1)
