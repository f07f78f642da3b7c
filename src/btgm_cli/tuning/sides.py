"""Views that no tilt grants together, told by what each of them implies for means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from btgm_cli.core.views import SETTING, Kind, Sign, View
from btgm_cli.tilt.views import SEEN
from btgm_cli.tuning.contradiction import WITHIN, Conflict, Contradiction, find_conflict
from btgm_cli.tuning.feasibility import Bound

HIGHEST = 10
"""Draws beyond the highest cut of a hinge: a hinge beyond all draws is 0, and tells nothing."""

QUANTILES = (0.5, 0.9, 0.99)
"""Of the draws, where hinges are cut as well."""


@dataclass(frozen=True)
class Side:
    """A mean that a view implies: E of sign · feature is at least `goal`.

    Args:
        index: of the view.
        view: whose feature it is; `asked`'s own, or another that it implies.
        cut: of the feature.
        sign: 1 or −1.
        goal: in the feature's unit, times the sign.
    """

    index: int
    view: View
    cut: float
    sign: float
    goal: float

    def reached(self, limit: float) -> float:
        """A largest mean of the feature times its sign, in the view's unit."""
        if self.view.kind is Kind.TAIL_MEAN:
            return self.cut + limit / self.view.at
        return self.sign * limit


Most = Callable[[Sequence[View], tuple[float, ...], tuple[float, ...], float], Bound | None]
"""The largest mean of Σ wⱼ gⱼ, given views, w and cuts, where that is less than what is asked."""


def contradiction_of(
    views: Sequence[View], values: Tensor, under_p: Sequence[float], most: Most
) -> Contradiction | None:
    """Why no distribution grants all views, as far as can be told; None where one may.

    Args:
        views: what is asked.
        values: of each view's criterion on draws of p and of models on the way, (n, noises, k).
        under_p: what each view is of, under p.
        most: what the reference knows of a sum.
    """
    sides = [side for j, view in enumerate(views) for side in _sides(j, view, values[..., j])]
    means = [
        side.sign * side.view.feature(values[..., side.index], side.cut).mean(-1) for side in sides
    ]
    goal = np.array([side.goal for side in sides])

    def most_of(weights: tuple[float, ...], asked: float) -> Bound | None:
        used = [(side, w * side.sign) for side, w in zip(sides, weights, strict=True) if w]
        terms, cuts = [side.view for side, _ in used], tuple(side.cut for side, _ in used)
        return most(terms, tuple(w for _, w in used), cuts, asked)

    conflict = find_conflict(torch.stack(means, -1), goal, most_of)
    return _told(views, sides, conflict, under_p) if conflict else None


def _sides(j: int, view: View, values: Tensor) -> list[Side]:
    """The means that view j implies, by its criterion's values (n, noises) on the draws."""
    low, high = view.sign is not Sign.AT_MOST, view.sign is not Sign.AT_LEAST
    if view.kind is Kind.TAIL_MEAN:
        mean = View(Kind.MEAN, view.of, Sign.AT_MOST, view.value)
        # No tail's mean is below that of all.
        return _hinges(j, view, values) * low + [Side(j, mean, 0.0, -1, -view.value)] * high
    found = [Side(j, view, view.at, -1, -view.value)] * high
    if view.kind is Kind.MEAN:
        return found + [Side(j, view, 0.0, 1, view.value)] * low
    if low and int((values > view.at).any(-1).sum()) >= SEEN:
        return [*found, Side(j, view, view.at, 1, view.value)]
    # A share a above t has a mean above t.
    tail = View(Kind.TAIL_MEAN, view.of, Sign.AT_LEAST, view.at, view.value)
    return found + _hinges(j, tail, values) * low


def _hinges(j: int, tail: View, values: Tensor) -> list[Side]:
    """What a tail's mean of c implies at several v: E max(f − v, 0) ≥ a (c − v) (Rockafellar)."""
    f = values.flatten().double().sort().values
    cuts = [f[int(share * len(f))].item() for share in QUANTILES] + [f[-HIGHEST - 1].item()]
    return [Side(j, tail, cut, 1, tail.goal(cut)) for cut in cuts if cut < tail.value]


def _told(
    views: Sequence[View], sides: Sequence[Side], conflict: Conflict, under_p: Sequence[float]
) -> Contradiction:
    """The contradiction in words, and views within reach."""
    parts = [side for side, weight in zip(sides, conflict.weights, strict=True) if weight > 0]
    involved = list(dict.fromkeys(side.index for side in parts))
    texts = " and ".join(views[j].text for j in involved)
    if len(parts) == 1:
        side = parts[0]
        end = "the least" if side.sign < 0 else "the most"
        name, reached = side.view.name, side.reached(conflict.limit.value)
        text = f"{texts} cannot be met: {end} that {name} can be is {reached:.4g}"
    else:
        way = f"from p at most {max(conflict.share, 0.0):.0%} of the way"
        text = f"{texts} cannot be met together: {way} can be gone"
    share = WITHIN * max(conflict.share, 0.0)
    less = [
        view.asking(float(f"{start + share * (view.value - start):.4g}"))
        if j in involved
        else view.text
        for j, (view, start) in enumerate(zip(views, under_p, strict=True))
    ]
    listed = ",".join(f'"{text}"' for text in less)
    return Contradiction(text, f"{SETTING}=[{listed}]")
