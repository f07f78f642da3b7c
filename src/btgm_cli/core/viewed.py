"""The sum that a set of views tilts by, as a criterion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from btgm_cli.core.contracts import Classified, Criterion, Summed
from btgm_cli.core.views import View


class Viewed:
    """f = Σ wⱼ gⱼ, with gⱼ what view j asks a mean of: f itself, an indicator or a hinge.

    It tells the classes of x where the sum does that has the views' criteria.

    Args:
        of: the sum whose terms the views name.
        views: j.
        weights: wⱼ, and after them the cuts of all gⱼ; see `View.feature`.
    """

    def __init__(self, of: Summed, views: Sequence[View], weights: Sequence[float]) -> None:
        self.of, self.views = of, tuple(views)
        self.weights, self.cuts = weights[: len(views)], weights[len(views) :]
        names = list(of.terms)
        self._columns = [names.index(view.of) for view in views]
        if isinstance(of, Classified):
            vars(self).update(classes=of.classes, n_classes=of.n_classes)

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for x of shape (n, *X)."""
        return self.of_parts(self.of.parts(x))

    def of_parts(self, parts: Tensor) -> Tensor:
        """f of shape (…) by the terms of the sum, shape (…, terms)."""
        each = zip(self.views, self._columns, self.weights, self.cuts, strict=True)
        terms = [weight * view.feature(parts[..., at], cut) for view, at, weight, cut in each]
        return torch.stack(terms).sum(0)


def weighted(of: Summed, views: Sequence[View], weights: Sequence[float]) -> Criterion:
    """The criterion that weights which were solved for make of a sum, with views or without."""
    return Viewed(of, views, weights) if views else of.weighted(weights)
