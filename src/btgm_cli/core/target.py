"""What Algorithm 1 is to meet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from btgm_cli.core.errors import SettingError
from btgm_cli.core.views import View, require_consistent

FIG5_BETAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""The path of the paper's Fig. 5."""


@dataclass(frozen=True)
class Target:
    """What Algorithm 1 is to meet: exactly one of these; none means the path of Fig. 5.

    Args:
        C_D: KL budget KL(q‖p) in nats (Eq. 1).
        C_f: mean E_q f in the criterion's unit (Eq. 4).
        rho: mass of the top quantile to sample, a KL budget of −log ρ nats (§4.1).
        betas: a warm-started path of tilts, increasing: the Pareto front.
        at_least: means E_q fᵢ ≥ cᵢ of all terms of a sum at once, by their names.
        views: means, probabilities and tail means of the terms of a sum, all at once, as
            statements: E(f) = 1, P(f > 3) <= 0.01, CVaR(f, 0.05) >= 4.

    Raises:
        SettingError: two of them, or a value out of range.

    Examples:
        >>> from btgm_cli import Target
        >>> Target(betas=[0, 0.5]).path
        (0.0, 0.5)
        >>> Target(C_D=0.5).path is None  # searched for
        True
        >>> Target(C_D=0.5, rho=0.01)
        Traceback (most recent call last):
        btgm_cli.core.errors.SettingError: target=...: give one target, not 2 ...
    """

    C_D: float | None = None
    C_f: float | None = None
    rho: float | None = None
    betas: Sequence[float] | None = None
    at_least: Mapping[str, float] | None = None
    views: Sequence[str] | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            text = ", ".join(f"target.{name}" for name in given)
            raise SettingError("target", given, f"give one target, not {len(given)} ({text})")
        if self.C_D is not None and not 0 < self.C_D < math.inf:
            raise SettingError("target.C_D", self.C_D, "must be a positive number of nats")
        if self.C_f is not None and not math.isfinite(self.C_f):
            raise SettingError("target.C_f", self.C_f, "must be finite")
        if self.rho is not None and not 0 < self.rho < 1:
            raise SettingError("target.rho", self.rho, "must be between 0 and 1")
        if self.betas is not None:
            self._check_betas(tuple(self.betas))
        for name, value in (self.at_least or {}).items():
            if isinstance(value, bool | str) or not math.isfinite(value):
                raise SettingError(f"target.at_least.{name}", value, "must be a finite number")
        if self.views is not None and not self.views:
            raise SettingError("target.views", [], "must have one view or more")
        require_consistent(self.asked)

    @property
    def asked(self) -> tuple[View, ...]:
        """The views; empty where there are none."""
        return tuple(map(View.parsed, self.views or ()))

    @property
    def path(self) -> tuple[float, ...] | None:
        """The betas to visit, or None when they are searched for."""
        if self.betas is not None:
            return tuple(float(beta) for beta in self.betas)
        searched = (self.C_D, self.C_f, self.rho, self.at_least, self.views)
        return FIG5_BETAS if searched == (None,) * len(searched) else None

    def _check_betas(self, betas: tuple[float, ...]) -> None:
        numbers = [b for b in betas if isinstance(b, int | float) and not isinstance(b, bool)]
        valid = len(numbers) == len(betas) > 0 and all(0 <= b < math.inf for b in numbers)
        if not valid or any(b >= c for b, c in pairwise(betas)):
            expected = "must be a list of increasing numbers, 0 or more, such as [0,0.5,1]"
            raise SettingError("target.betas", list(betas), expected)
