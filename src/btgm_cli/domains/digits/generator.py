"""A convolutional generator of 28 x 28 digits with a standard normal prior."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from btgm_cli.core.prior import StandardNormal
from btgm_cli.store.checkpoints import StoredNetwork, checkpoint_hash, load_network


class Generator(StoredNetwork):
    """z (n, latent_dim) to images (n, 1, 28, 28) in [0, 1].

    Smooth activations keep the latent space smooth, which is what a flow has to follow. All
    convolutions are at 14 x 14, and a pixel shuffle doubles the side at the very end: on a CPU,
    convolutions at 28 x 28 would be most of the cost of a gradient in z.

    Args:
        latent_dim: Dimension of z.
        hidden: Width of the two fully connected layers.
        channels: Channels of the first map at 14 x 14; the second has twice as many.
    """

    family: ClassVar[str] = "generator"

    def __init__(self, latent_dim: int = 10, hidden: int = 256, channels: int = 16) -> None:
        super().__init__()
        self.architecture = {"latent_dim": latent_dim, "hidden": hidden, "channels": channels}
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, channels * 14 * 14),
            nn.Unflatten(1, (channels, 14, 14)),
            nn.SiLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * channels, 4, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Sigmoid(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Images (n, 1, 28, 28) in [0, 1] for z of shape (n, latent_dim)."""
        images: Tensor = self.layers(z)
        return images


class Digits(StandardNormal, nn.Module):
    """A frozen generator with its prior N(0, I): a `core.contracts.GenerativeModel`.

    Args:
        generator: The network to freeze.
        checkpoint_sha256: Of the file that it is from, by which a discriminator knows it.
    """

    def __init__(self, generator: Generator, checkpoint_sha256: str = "") -> None:
        super().__init__(generator.latent_dim)
        self.generator = generator.eval().requires_grad_(False)
        self.checkpoint_sha256 = checkpoint_sha256

    def decode(self, z: Tensor) -> Tensor:
        """Images (n, 1, 28, 28) in [0, 1] for z of shape (n, D), differentiable in z."""
        images: Tensor = self.generator(z)
        return images


def load_gan(checkpoint: str = "gan_mnist") -> Digits:
    """The GAN of a packaged checkpoint, or of the path of a `.safetensors` or `.pt` file.

    Raises:
        SettingError: No such checkpoint, or not one of a generator.
    """
    network = load_network(Generator, checkpoint, "model.checkpoint")
    return Digits(network, checkpoint_hash(checkpoint))
