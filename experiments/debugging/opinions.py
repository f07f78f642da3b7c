"""What several classifiers say of the same images, and what follows without a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.domains.digits.classifier import Classifier
from btgm_cli.domains.pretraining.gates import in_chunks
from btgm_cli.report.markdown import Row

SURE = 0.9


@dataclass(frozen=True)
class Opinions:
    """Of the classifier that is debugged, and of others.

    Attributes:
        own: its h(· | x), (n, 10).
        others: those of the others, (k, n, 10).
    """

    own: Tensor
    others: Tensor

    @classmethod
    def of(cls, classifiers: Sequence[Classifier], x: Tensor) -> Opinions:
        """The opinions of the first and of the rest on images x (n, 1, 28, 28)."""
        own, *others = (in_chunks(each, x).double().softmax(1) for each in classifiers)
        return cls(own, torch.stack(others))

    @property
    def disputed(self) -> Tensor:
        """Whether each of the others finds another class, (k, n)."""
        return self.others.argmax(-1) != self.own.argmax(-1)

    def summary(self, weights: Tensor) -> Row:
        """What is known without labels, under weights (n,) that sum to 1.

        Where two classifiers differ one at least is wrong, so that their errors sum to no less
        than the share that they differ on: `least_error` is half of it, a bound for the mean of
        two. `expected_error` is what the classifier itself expects, the mean of 1 − max h.
        """
        confidence = self.own.max(1).values
        differ = self.disputed.double()
        sure = (confidence > SURE) & (self.others.max(-1).values > SURE)
        second = self.own.topk(2, 1).values[:, 1]
        entropy = -torch.special.xlogy(self.own, self.own).sum(1)
        means = {
            "entropy": entropy,
            "second": second,
            "expected_error": 1 - confidence,
            "differ": differ.mean(0),
            "least_error": differ.mean(0) / 2,
            "sure_and_differ": (differ * sure).mean(0),
        }
        effective = 1 / weights.square().sum()
        row = {name: (weights @ values).item() for name, values in means.items()}
        spread = means["differ"] - row["differ"]
        error = (weights.square() @ spread.square()).sqrt().item()
        return {"effective": effective.item(), **row, "differ_se": error}

    def errors(self, labels: Tensor, weights: Tensor) -> Row:
        """The share that the classifier gets wrong, and that the others do in the mean."""
        wrong = (self.own.argmax(1) != labels).double()
        found = (weights @ wrong).item()
        error = (weights.square() @ (wrong - found).square()).sqrt().item()
        others = (self.others.argmax(-1) != labels).double().mean(0)
        return {"error": found, "error_se": error, "error_others": (weights @ others).item()}

    def pairs(self) -> list[Row]:
        """The share of each pair of first and second class, whichever is first."""
        best = self.own.topk(2, 1).indices.sort(1).values
        found, counts = best.unique(dim=0, return_counts=True)
        shares = counts / len(best)
        return [
            {"one": int(one), "other": int(other), "share": share}
            for (one, other), share in zip(found.tolist(), shares.tolist(), strict=True)
        ]


def uniform(n: int) -> Tensor:
    """Equal weights (n,)."""
    return torch.full((n,), 1 / n, dtype=torch.double)


def tilted_test(f: Tensor, beta: float) -> Tensor:
    """Weights (n,) that tilt images with the values f (n,) by exp(beta f)."""
    return (beta * f.double()).softmax(0)
