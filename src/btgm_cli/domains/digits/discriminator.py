"""A small convolutional discriminator of real digits from those of one generator."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.digits.classifier import convolutions
from btgm_cli.store.checkpoints import StoredNetwork


class Discriminator(StoredNetwork):
    """Images (n, 1, 28, 28) in [0, 1] to log-odds (n,) that they are real, not generated.

    Trained on as many real images as draws of p, they estimate log p_D(x) / p(x) in nats
    (Generative Adversarial Nets, Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661).

    Args:
        channels: Channels of the first convolution; the next have twice and four times as many.
        hidden: Width of the penultimate layer.
        generator_sha256: Of the checkpoint of the generator whose draws it knows.
    """

    family: ClassVar[str] = "discriminator"

    def __init__(self, channels: int = 16, hidden: int = 128, generator_sha256: str = "") -> None:
        super().__init__()
        self.generator_sha256 = generator_sha256
        self.architecture = {
            "channels": channels,
            "hidden": hidden,
            "generator_sha256": generator_sha256,
        }
        self.body = convolutions(channels, hidden)
        self.head = nn.Linear(hidden, 1)
        self.register_buffer("temperature", torch.ones(()))

    temperature: Tensor
    """What the trained logit is divided by, so that its odds are those of images held out:
    On Calibration of Modern Neural Networks (Guo et al., 2017), https://arxiv.org/abs/1706.04599.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Log-odds (n,) of x (n, 1, 28, 28)."""
        logits: Tensor = self.head(self.body(x)).squeeze(1) / self.temperature
        return logits


def slopes(network: nn.Module, model: GenerativeModel, z: Tensor) -> Tensor:
    """|grad_z f(decode(z))| of a discriminator f, shape (n,), for z of shape (n, D)."""
    z = z.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network(model.decode(z)).sum(), z)
    norms: Tensor = gradient.norm(dim=1)
    return norms


def require_same_generator(
    network: Discriminator, model: GenerativeModel, setting: str, value: str
) -> None:
    """Refuse a discriminator that learned from the draws of another generator.

    Args:
        network: The discriminator.
        model: Whose draws it is to judge.
        setting: Which setting named the discriminator.
        value: As what.

    Raises:
        SettingError: Their checkpoints differ, or the model is from none.
    """
    ours = getattr(model, "checkpoint_sha256", "") or "no checkpoint"
    theirs = network.generator_sha256 or "an unknown one"
    if ours != theirs:
        expected = (
            f"belongs to another generator: learned from that of SHA-256 {theirs[:14]}, this is "
            f"{ours[:14]}; train one by btgm train model=discriminator generator=NAME"
        )
        raise SettingError(setting, value, expected)
