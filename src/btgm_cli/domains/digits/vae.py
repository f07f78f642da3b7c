"""A convolutional VAE of 28 x 28 digits with a standard normal prior."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from btgm_cli.domains.digits.classifier import convolutions
from btgm_cli.domains.digits.generator import Digits, Generator
from btgm_cli.store.checkpoints import (
    StoredNetwork,
    checkpoint_hash,
    family_of,
    load_network,
)


class VaeNetwork(StoredNetwork):
    """A VAE of images x (n, 1, 28, 28) in [0, 1].

    p(z) = N(0, I), p(x | z) = N(m(z), s^2) with one s for all pixels, learned with the rest;
    q(z | x) = N(mean(x), diag(exp(2 log_scale(x)))). As a generator it decodes to m(z): s is the
    size of what m leaves out, and noise of it on every pixel makes no digit look more real.

    Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114.

    Args:
        latent_dim: Dimension of z.
        hidden: Width of the decoder's fully connected layers.
        channels: Channels of the decoder's first map.
        encoder_channels: Channels of the encoder's first map.
        encoder_hidden: Width of the encoder's last layer but one.
    """

    family: ClassVar[str] = "digits_vae"

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
        self.decoder = Generator(latent_dim, hidden, channels)
        self.encoder = nn.Sequential(
            convolutions(encoder_channels, encoder_hidden),
            nn.Linear(encoder_hidden, 2 * latent_dim),
        )
        self.log_scale = nn.Parameter(torch.tensor(-1.0))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x), each (n, latent_dim)."""
        mean, log_scale = self.encoder(x).chunk(2, 1)
        return mean, log_scale

    def rebuilt(self, x: Tensor, noise: Tensor) -> Tensor:
        """Images (n, 1, 28, 28) decoded from draws of q(z | x); arguments as of `bound`."""
        mean, log_scale = self.posterior(x)
        images: Tensor = self.decoder(mean + log_scale.exp() * noise)
        return images

    def bound(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of the ELBO in nats, each (n,): log p(x | z) and KL(q(z | x) || p(z)).

        Args:
            x: Images (n, 1, 28, 28).
            noise: Standard normal draws (n, latent_dim), which make the draws of q(z | x).
        """
        mean, log_scale = self.posterior(x)
        rebuilt = self.decoder(mean + log_scale.exp() * noise)
        return gaussian_terms(x, rebuilt, self.log_scale, mean, log_scale)


def gaussian_terms(
    x: Tensor, rebuilt: Tensor, log_pixel: Tensor, mean: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """log N(x; rebuilt, s^2) and KL(N(mean, diag(exp(2 log_scale))) || N(0, I)), nats, each (n,).

    Args:
        x: Images (n, 1, 28, 28).
        rebuilt: Their means under the decoder, of the same shape.
        log_pixel: log s, a scalar.
        mean: Means (n, D) of q(z | x).
        log_scale: Its log standard deviations (n, D).
    """
    e = ((x - rebuilt) * (-log_pixel).exp()).flatten(1)
    log_prob = -0.5 * (e.square() + math.log(2 * math.pi)).sum(1)
    kl = 0.5 * (mean.square() + (2 * log_scale).exp() - 1) - log_scale
    return log_prob - e.shape[1] * log_pixel, kl.sum(1)


def load_vae(checkpoint: str = "vae_mnist") -> Digits:
    """The decoder of a packaged VAE, or of the path of a `.safetensors` or `.pt` file: x = m(z).

    Raises:
        SettingError: No such checkpoint, or not one of a VAE of digits.
    """
    network = load_network(VaeNetwork, checkpoint, "model.checkpoint")
    return Digits(network.decoder, checkpoint_hash(checkpoint))


def load_digits(checkpoint: str, setting: str) -> Digits:
    """Any generator of digits: that of a GAN, or a VAE's decoder.

    Args:
        checkpoint: A packaged name or a path.
        setting: Which setting names it.

    Raises:
        SettingError: No such checkpoint, or one of neither.
    """
    if family_of(checkpoint, setting) == VaeNetwork.family:
        generator = load_network(VaeNetwork, checkpoint, setting).decoder
    else:
        generator = load_network(Generator, checkpoint, setting)
    return Digits(generator, checkpoint_hash(checkpoint, setting))
