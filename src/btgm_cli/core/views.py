"""Views: what a user says of a model's outputs, as statements on the values of criteria.

Three kinds, as in entropy pooling (Meucci, *Fully Flexible Views*, 2008): a mean E(f), a
probability P(f > t), and the mean of the largest values, CVaR(f, a): of the share a beyond the
quantile v with P(f > v) = a. By Rockafellar & Uryasev (2000) the last is v + E max(f − v, 0) / a.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import permutations

from torch import Tensor

from btgm_cli.core.errors import SettingError

SETTING = "target.views"
EXPECTED = "must be such as E(f) = 1, P(f > 3) <= 0.01 or CVaR(f, 0.05) >= 4"


class Kind(StrEnum):
    """What a view is of."""

    MEAN = "E"
    PROBABILITY = "P"
    TAIL_MEAN = "CVaR"


class Sign(StrEnum):
    """How that relates to what is asked."""

    EQUAL = "="
    AT_LEAST = ">="
    AT_MOST = "<="


_NAME = r"([A-Za-z_]\w*)"
_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_LEFT = {
    Kind.MEAN: rf"E\({_NAME}\)",
    Kind.PROBABILITY: rf"P\({_NAME}>{_NUMBER}\)",
    Kind.TAIL_MEAN: rf"CVaR\({_NAME},{_NUMBER}\)",
}
"""Of a statement without its spaces."""


@dataclass(frozen=True)
class View:
    """One statement on the values of one criterion.

    Args:
        kind: of what.
        of: the criterion's name.
        sign: equal, at least or at most.
        value: what is asked, in the criterion's unit or as a probability.
        at: threshold t of P(f > t), share a of CVaR(f, a); 0 for a mean.

    Raises:
        SettingError: a probability or a share that is not between 0 and 1.

    Examples:
        >>> from btgm_cli.core.views import View
        >>> View.parsed("CVaR(peak, 0.05) >= 25").text
        'CVaR(peak,0.05)>=25'
    """

    kind: Kind
    of: str
    sign: Sign
    value: float
    at: float = 0.0

    def __post_init__(self) -> None:
        if self.kind is Kind.PROBABILITY and not 0 < self.value < 1:
            raise SettingError(SETTING, self.text, "a probability must be between 0 and 1")
        if self.kind is Kind.TAIL_MEAN and not 0 < self.at < 1:
            raise SettingError(SETTING, self.text, "the share of a tail must be between 0 and 1")

    @classmethod
    def parsed(cls, statement: str) -> View:
        """The view that a statement tells.

        Raises:
            SettingError: it tells none.
        """
        told = "".join(statement.split())
        for kind, left in _LEFT.items():
            if found := re.fullmatch(rf"{left}(=|>=|<=){_NUMBER}", told):
                of, *at, sign, value = found.groups()
                return cls(kind, of, Sign(sign), float(value), *map(float, at))
        raise SettingError(SETTING, statement, EXPECTED)

    @property
    def name(self) -> str:
        """What the view is of, such as P(f>3)."""
        if self.kind is Kind.MEAN:
            return f"E({self.of})"
        comma = ">" if self.kind is Kind.PROBABILITY else ","
        return f"{self.kind}({self.of}{comma}{self.at:.6g})"

    @property
    def text(self) -> str:
        """The statement, without spaces."""
        return self.asking(self.value)

    def asking(self, value: float) -> str:
        """The statement with another value."""
        return f"{self.name}{self.sign}{value:.6g}"

    @property
    def low(self) -> float:
        """The least that grants it; −∞ where there is none."""
        return -math.inf if self.sign is Sign.AT_MOST else self.value

    @property
    def high(self) -> float:
        """The most that grants it; ∞ where there is none."""
        return math.inf if self.sign is Sign.AT_LEAST else self.value

    def feature(self, f: Tensor, cut: float) -> Tensor:
        """What a mean is asked of: f, 1{f > cut} or max(f − cut, 0), in the shape of f.

        Args:
            f: values of the criterion.
            cut: t of a probability; v of a tail's mean.
        """
        if self.kind is Kind.MEAN:
            return f
        if self.kind is Kind.PROBABILITY:
            return (f > cut).to(f)
        return (f - cut).clamp(min=0)

    def goal(self, cut: float) -> float:
        """The mean of `feature` that is asked: a (c − v) for a tail's mean of c."""
        return self.at * (self.value - cut) if self.kind is Kind.TAIL_MEAN else self.value


def require_consistent(views: Sequence[View]) -> None:
    """Refuse two views that no distribution grants together, whatever the model.

    Raises:
        SettingError: names both.
    """
    for more, less in permutations(views, 2):
        both = f"{more.text} and {less.text}"
        if _is_never_below(more, less) and more.high < less.low:
            expected = f"contradict each other: {more.name} is never below {less.name}"
            raise SettingError(SETTING, both, expected)
        if _fills_the_tail(less, more) and more.high <= less.at:
            expected = f"contradict each other: so large a share is above {less.at:.6g}"
            raise SettingError(SETTING, both, expected)


def _is_never_below(more: View, less: View) -> bool:
    """Is what one view is of at least what the other one is of, under every distribution?"""
    if more.of != less.of:
        return False
    if Kind.PROBABILITY in (more.kind, less.kind):
        return more.kind is less.kind and more.at <= less.at
    return _share(more) <= _share(less)


def _fills_the_tail(probability: View, tail: View) -> bool:
    """Does a share of f at least as large as the tail lie above the threshold?"""
    kinds = (probability.kind, tail.kind) == (Kind.PROBABILITY, Kind.TAIL_MEAN)
    return kinds and probability.of == tail.of and probability.low >= tail.at


def _share(view: View) -> float:
    """Of the largest values whose mean it is: a mean is that of all."""
    return view.at if view.kind is Kind.TAIL_MEAN else 1.0
