"""A small convolutional classifier of 28 x 28 digits, for criteria and for judging a GAN."""

from __future__ import annotations

import hashlib
from typing import ClassVar
from weakref import ReferenceType, WeakKeyDictionary, WeakValueDictionary, ref

import torch
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


_FROZEN: WeakValueDictionary[str, Classifier] = WeakValueDictionary()
_LAST: WeakKeyDictionary[nn.Module, tuple[ReferenceType[Tensor], int, Tensor]] = (
    WeakKeyDictionary()
)


def frozen_classifier(checkpoint: str = "classifier_mnist") -> Classifier:
    """The classifier of a checkpoint, not to be changed: one for all who ask for its weights.

    Raises:
        SettingError: No such checkpoint, or not one of a classifier.
    """
    loaded = load_classifier(checkpoint)
    told = hashlib.sha256(repr(loaded.architecture).encode())
    for name, weights in loaded.state_dict().items():
        told.update(name.encode() + weights.numpy().tobytes())
    return _FROZEN.setdefault(told.hexdigest(), loaded)


def logits_of(network: nn.Module, x: Tensor) -> Tensor:
    """Logits (n, 10) of images x (n, 1, 28, 28) by a frozen network.

    Without gradient those of the last images are remembered: ten wishes of one sum ask for the
    same. With gradient they are not, since a graph serves one backward pass.
    """
    if torch.is_grad_enabled() or x.is_inference():
        logits: Tensor = network(x)
        return logits
    last, version, known = _LAST.get(network, (None, 0, x))
    if last is not None and last() is x and version == x._version:
        return known
    logits = network(x)
    _LAST[network] = (ref(x), x._version, logits)
    return logits
