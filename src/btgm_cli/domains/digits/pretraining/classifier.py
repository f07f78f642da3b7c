"""Training of the digits' classifier."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, cross_entropy, grid_sample

from btgm_cli.domains.digits.classifier import Classifier
from btgm_cli.domains.pretraining.settings import require_fraction, require_positive
from btgm_cli.domains.pretraining.trainee import Trainee, seeded


@dataclass(frozen=True)
class ClassifierSettings:
    """What shapes a classifier.

    Attributes:
        steps: Steps of the optimizer.
        batch: Images to a step.
        rate: Learning rate (AdamW).
        hold: Fraction of the steps before the rate starts to fall to zero.
        weight_decay: Decoupled weight decay.
        logit_penalty: Weight of the mean squared logit: keeps log h from falling off cliffs far
            from a class, where no data says how unlikely it is.
        average: Decay of the averaged weights.
        rotate: Largest rotation of an image, degrees.
        scale: Largest relative change of its size.
        shift: Largest shift along each axis, pixels.
        channels: Channels of the first convolution.
        hidden: Width of the penultimate layer.
    """

    steps: int = 5_000
    batch: int = 128
    rate: float = 2e-3
    hold: float = 0.3
    weight_decay: float = 1e-3
    logit_penalty: float = 1e-3
    average: float = 0.998
    rotate: float = 12.0
    scale: float = 0.1
    shift: float = 2.0
    channels: int = 16
    hidden: int = 128

    def __post_init__(self) -> None:
        whole = [name for name, value in asdict(self).items() if isinstance(value, int)]
        require_positive(self, [*whole, "rate"], "model.")
        require_fraction(self, ("hold", "average", "scale"), "model.")


class ClassifierTrainee(Trainee[Classifier]):
    """A classifier in training.

    Args:
        images: Images (n, 1, 28, 28) in [0, 1].
        labels: Their classes (n,).
        settings: What shapes the classifier.
        seed: Seed of weights, batches and distortions.
        device: Where the network lives; random numbers are drawn on the CPU for any device.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        settings: ClassifierSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.images, self.labels = images.to(device), labels.to(device)
        self.settings = settings
        with seeded(seed) as rng:
            self.classifier = Classifier(settings.channels, settings.hidden).to(device)
        self.optimizer = torch.optim.AdamW(
            self.classifier.parameters(),
            settings.rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        super().__init__([self.classifier], [self.optimizer], settings, rng)

    def descend(self, index: int) -> dict[str, float]:
        """Step on the penalized cross-entropy of one distorted batch."""
        s = self.settings
        chosen = torch.randint(len(self.images), (s.batch,), generator=self.rng)
        chosen = chosen.to(self.images.device)
        x = distort(self.images[chosen], s, self.rng)
        logits = self.classifier(x)
        loss = cross_entropy(logits, self.labels[chosen])
        loss = loss + s.logit_penalty * logits.square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item()}


def distort(x: Tensor, settings: ClassifierSettings, rng: torch.Generator) -> Tensor:
    """Rotate, scale and shift each image (n, 1, h, w) at random, with bilinear interpolation."""
    n, _, height, width = x.shape
    draws = 2 * torch.rand(4, n, generator=rng) - 1
    angle = draws[0] * math.radians(settings.rotate)
    scale = 1 + draws[1] * settings.scale
    shifts = draws[2:] * settings.shift * 2 / torch.tensor([[width], [height]])
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = [cosine, -sine, shifts[0], sine, cosine, shifts[1]]
    maps = torch.stack(rows, 1).unflatten(1, (2, 3)).to(x)
    return grid_sample(
        x, affine_grid(maps, list(x.shape), align_corners=False), align_corners=False
    )
