"""Two wishes that no gradient leads to: a count, and a classifier's decision."""

import torch

from btgm_cli import load_criterion


def ink(x: torch.Tensor) -> torch.Tensor:
    """How many pixels are inked: f (n,) for images x (n, 1, 28, 28) in [0, 1]."""
    return (x > 0.5).flatten(1).sum(-1).float()


class Decided:
    """1 where the classifier decides for one digit, else 0: f (n,) for images x (n, 1, 28, 28)."""

    def __init__(self, digit: int) -> None:
        self.digit, self.classifier = digit, load_criterion("entropy")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return (self.classifier.classes(x) == self.digit).float()
