"""A small convolutional classifier of 28 x 28 digits, for criteria and for judging a GAN."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from btgm_cli.store.checkpoints import StoredNetwork, load_network


def convolutions(channels: int, hidden: int) -> nn.Sequential:
    """Images (n, 1, 28, 28) in [0, 1] to features (n, hidden).

    Blocks of 2 x 2 pixels become channels first: on a CPU a convolution at 28 x 28 would be most
    of the cost of a gradient in the image.

    Args:
        channels: Channels of the first convolution; the next have twice and four times as many.
        hidden: How many features.
    """
    return nn.Sequential(
        nn.PixelUnshuffle(2),
        nn.Conv2d(4, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(2 * channels, 4 * channels, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * channels * 7 * 7, hidden),
        nn.ReLU(),
    )


class Classifier(StoredNetwork):
    """Images (n, 1, 28, 28) in [0, 1] to logits (n, 10).

    Args:
        channels: Channels of the first convolution; the next have twice and four times as many.
        hidden: Width of the penultimate layer.
    """

    family: ClassVar[str] = "classifier"

    def __init__(self, channels: int = 16, hidden: int = 128) -> None:
        super().__init__()
        self.architecture = {"channels": channels, "hidden": hidden}
        self.body = convolutions(channels, hidden)
        self.head = nn.Linear(hidden, 10)

    def features(self, x: Tensor) -> Tensor:
        """Activations of the penultimate layer, shape (n, hidden), of x (n, 1, 28, 28)."""
        features: Tensor = self.body(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (n, 10), of x (n, 1, 28, 28)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def load_classifier(checkpoint: str = "classifier_mnist") -> Classifier:
    """The classifier of a packaged checkpoint, or of the path of a `.safetensors` or `.pt` file.

    Raises:
        SettingError: No such checkpoint, or not one of a classifier.
    """
    return load_network(Classifier, checkpoint, "criterion.classifier")
