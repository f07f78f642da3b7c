"""Criteria read off an independently trained classifier h (§4.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from btgm_cli.classifiers import load_classifier
from btgm_cli.core import SettingError


class LogClass:
    """f(x) = log h(ℓ | x) in nats: favour one class (Eq. 11).

    By log-softmax of the logits, never the log of a clipped probability, so that the gradient
    lives far from the class.

    Args:
        label: the class ℓ to favour, 0 … number of classes − 1.
        classifier: name of a packaged classifier or path of a checkpoint.
    """

    def __init__(self, label: int, classifier: str = "classifier_mnist") -> None:
        self.network: nn.Module = load_classifier(classifier).eval().requires_grad_(False)
        with torch.no_grad():
            self.n_classes = int(self.network(torch.zeros(1, 1, 28, 28)).shape[-1])
        if isinstance(label, bool) or label not in range(self.n_classes):
            expected = f"must be one of the classes 0 … {self.n_classes - 1}"
            raise SettingError("criterion.label", label, expected)
        self.label = label

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for images x of shape (n, 1, 28, 28) in [0, 1]."""
        return torch.log_softmax(self._logits(x), -1)[:, self.label]

    def classes(self, x: Tensor) -> Tensor:
        """The most probable class of each image, shape (n,)."""
        return self._logits(x).argmax(-1)

    def _logits(self, x: Tensor) -> Tensor:
        self.network.to(x.device)
        logits: Tensor = self.network(x)
        return logits
