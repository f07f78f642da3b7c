"""The critic of the digits' GAN."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """Scores (n,) of images (n, 1, 28, 28) in [0, 1].

    The spread of the features over groups of images is one more feature (Progressive Growing of
    GANs, Karras et al., 2018, https://arxiv.org/abs/1710.10196, section 3): a generator that
    forgets a class gives itself away.

    Args:
        channels: Channels of the first convolution; the second has twice as many.
        hidden: Width of the fully connected layer.
        group: Images to a group; n must be a multiple of it.
    """

    def __init__(self, channels: int = 24, hidden: int = 256, group: int = 32) -> None:
        super().__init__()
        self.group = group
        self.body = nn.Sequential(
            nn.Conv2d(1, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * channels * 7 * 7, hidden),
            nn.LeakyReLU(0.2),
        )
        self.head = nn.Linear(hidden + 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (n,) of x (n, 1, 28, 28)."""
        features = self.body(2 * x - 1)
        groups = features.unflatten(0, (-1, self.group))
        # A floor inside the root: its derivative is infinite where the images of a group agree.
        spread = (groups.var(1, unbiased=False) + 1e-8).sqrt().mean(1, keepdim=True)
        features = torch.cat([features, spread.repeat_interleave(self.group, 0)], 1)
        scores: Tensor = self.head(features).squeeze(1)
        return scores
