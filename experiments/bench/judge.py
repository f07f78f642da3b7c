"""Images held against the test images, by what the digits' classifier makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from experiments.bench.rivals import Row
from torch import Tensor

from btgm_cli.domains.digits.classifier import Classifier, load_classifier
from btgm_cli.domains.digits.mnist import Mnist
from btgm_cli.domains.digits.pretraining.gates import CONFIDENT, frechet_distance
from btgm_cli.domains.pretraining.gates import in_chunks

JUDGED = ("n", "frechet", "classes_off", "least_share", "most_share", "confident")
"""Columns of `Judge.of`."""


@dataclass(frozen=True)
class Judge:
    """Holds images against the test images."""

    data: Mnist
    network: Classifier = field(default_factory=lambda: load_classifier().eval())

    @cached_property
    def features(self) -> Tensor:
        """Of the test images."""
        return in_chunks(self.network.features, self.data.test_images)

    def of(self, images: Tensor) -> Row:
        """What is to be said of images (n, 1, 28, 28).

        `frechet` is the Fréchet distance of the classifier's features, `classes_off` the total
        variation between the shares of the digits and those of the test images.
        """
        features = in_chunks(self.network.features, images)
        confidence, found = in_chunks(self.network.head, features).softmax(1).max(1)
        shares = torch.bincount(found, minlength=10).double() / len(found)
        test = torch.bincount(self.data.test_labels, minlength=10).double()
        return {
            "n": len(images),
            "frechet": frechet_distance(features, self.features),
            "classes_off": 0.5 * (shares - test / test.sum()).abs().sum().item(),
            "least_share": shares.min().item(),
            "most_share": shares.max().item(),
            "confident": (confidence > CONFIDENT).double().mean().item(),
        }
