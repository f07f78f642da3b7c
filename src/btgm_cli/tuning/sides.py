"""Views that no tilt grants together, told by what each of them implies for means."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from btgm_cli.core.views import SETTING, Kind, Sign, View
from btgm_cli.tilt.views import SEEN
from btgm_cli.tuning.contradiction import WITHIN, Conflict, Contradiction, find_conflict
from btgm_cli.tuning.feasibility import Bound

QUANTILES = (0.5, 0.9, 0.99, 0.999)
"""Of the draws, where hinges are cut."""


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
    for j, view in enumerate(views):
        if (bound := _too_low(view, values[..., j], most)) is not None:
            return _beyond(views, j, bound, under_p[j])
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


def _too_low(view: View, values: Tensor, most: Most) -> Bound | None:
    """The most that a criterion can be, where no draw (n, noises) reaches what the view is of."""
    least = view.at if view.kind is Kind.PROBABILITY else view.value
    if view.kind is Kind.MEAN or view.sign is Sign.AT_MOST or (values > least).any():
        return None
    mean = View(Kind.MEAN, view.of, Sign.AT_LEAST, least)
    return most([mean], (1.0,), (0.0,), least)


def _beyond(views: Sequence[View], j: int, bound: Bound, under_p: float) -> Contradiction:
    """View j is of what its criterion never is."""
    view = views[j]
    reached = f"the most that {view.of} can be is {bound.value:.4g}"
    text = f"{view.text} cannot be met: {reached}"
    if view.kind is Kind.PROBABILITY:
        return Contradiction(text, f"a threshold below {bound.value:.4g}")
    less = [view.value for view in views]
    less[j] = under_p + WITHIN * (bound.value - under_p)
    return Contradiction(text, _remedy(views, less))


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
    cuts = [f[int(share * len(f))].item() for share in QUANTILES]
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
        reached = side.sign * conflict.limit.value
        text = f"{texts} cannot be met: {end} that {side.view.name} can be is {reached:.4g}"
    else:
        together = " together" if len(involved) > 1 else ""
        way = f"from p at most {max(conflict.share, 0.0):.0%} of the way"
        text = f"{texts} cannot be met{together}: {way} can be gone"
    share = WITHIN * max(conflict.share, 0.0)
    less = [view.value for view in views]
    for j in involved:
        less[j] = under_p[j] + share * (views[j].value - under_p[j])
    return Contradiction(text, _remedy(views, less))


def _remedy(views: Sequence[View], values: Sequence[float]) -> str:
    """The views with other values."""
    both = zip(views, values, strict=True)
    less = [view.asking(value if value == view.value else _rounded(value)) for view, value in both]
    return f"{SETTING}=[{','.join(map(json.dumps, less))}]"


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
