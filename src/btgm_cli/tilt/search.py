"""The second-order update of β: pure functions from moments to the next β.

With M = E f: M' = Var f, M'' = μ3. With K = KL: K' = β Var f, K'' = Var f + β μ3 (Eqs. 5–6).
The plain Newton step divides by zero at β = 0 and can leap by orders of magnitude, so each step
is Halley's, capped and kept inside the bracket that every visited β narrows (M and K increase
with β); the stopping rule knows the Monte-Carlo error of the moments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import Moments

LARGEST_FACTOR = 16.0
"""β grows at most this much in one update: beyond, the moments say little."""


SLACK = 0.05
"""The bracket's ends stay this share of β away from what was visited."""


class Quantity(StrEnum):
    """What a target fixes."""

    KL = "kl"
    MEAN = "mean"


@dataclass(frozen=True)
class Goal:
    """Find β such that `quantity` equals `value` (nats for a KL).

    Args:
        quantity: what is fixed.
        value: the KL budget C_D in nats, or the mean C_f in the criterion's unit.
        tolerance: relative error that counts as met; for a mean it is relative to the distance
            |C_f − E_p f|, so that f + c is met like f. Twice the Monte-Carlo error always counts.
    """

    quantity: Quantity
    value: float
    tolerance: float = 0.01

    def residual(self, moments: Moments) -> float:
        """What is reached minus what is wanted."""
        return (moments.kl if self.quantity is Quantity.KL else moments.mean) - self.value

    def allowed(self, prior: Moments) -> float:
        """The tolerance in absolute terms, given the moments of f under p."""
        scale = self.value if self.quantity is Quantity.KL else abs(self.residual(prior))
        return self.tolerance * scale

    def error(self, moments: Moments) -> float:
        """Standard error of the residual."""
        return moments.kl_se if self.quantity is Quantity.KL else moments.mean_se


@dataclass(frozen=True)
class Search:
    """State of the search: the β to try next, the bracket, and the tolerance in absolute terms.

    `residual` is the last one seen, `stalls` how often in a row it hardly shrank.
    """

    goal: Goal
    beta: float
    tolerance: float
    lower: float = 0.0
    upper: float = math.inf
    residual: float = math.inf
    stalls: int = 0
    updates: int = 0
    converged: bool = False


def init(goal: Goal, prior: Moments) -> Search:
    """The search at β = 0, with the first β to try from the second-order model at the prior.

    Args:
        goal: what to reach.
        prior: moments of f under p.

    Raises:
        SettingError: the criterion is constant under p, so that no β changes anything.
    """
    if not prior.var > 0 or not math.isfinite(prior.var):
        expected = f"cannot be steered to: the criterion's variance under p is {prior.var:g}"
        raise SettingError(f"target ({goal.quantity})", goal.value, expected)
    search = Search(goal, 0.0, goal.allowed(prior))
    if goal.residual(prior) >= -max(search.tolerance, 2 * goal.error(prior)):
        return replace(search, converged=True)  # p itself is the closest model that qualifies
    if goal.quantity is Quantity.KL:
        return replace(search, beta=math.sqrt(2 * goal.value / prior.var))
    step = _halley(goal.residual(prior), prior.var, prior.m3)
    # The units of f set those of β: one standard deviation of f is the natural first scale.
    return replace(search, beta=min(step, 4.0 / math.sqrt(prior.var)))


def update(search: Search, moments: Moments) -> Search:
    """Take in the moments reached at `search.beta`; give the next β, or say converged.

    Args:
        search: the state whose β was tried.
        moments: what was reached there (exact or by Monte Carlo).
    """
    goal, beta = search.goal, search.beta
    residual = goal.residual(moments)
    updates = search.updates + 1
    if abs(residual) <= max(search.tolerance, 2 * goal.error(moments)):
        return replace(search, updates=updates, converged=True)
    # A model that keeps missing on one side by about as much is no guide: bisect instead. Once,
    # or within a few tolerances of the target, that is only the noise between trainings.
    same_side = math.isfinite(search.residual) and residual * search.residual > 0
    far = abs(residual) > max(3 * search.tolerance, abs(search.residual) / 2)
    stalls = search.stalls + 1 if same_side and far else 0
    misled = stalls >= 2
    proposal = math.nan if misled else _propose(goal, beta, moments)
    # Two flows trained at the same β differ by more than the Monte-Carlo error of either, so a
    # visited β bounds the root only up to some slack; not while bisecting, which must close in.
    slack = 0.0 if misled else SLACK * beta
    lower = max(search.lower, beta - slack) if residual < 0 else search.lower
    upper = min(search.upper, beta + slack) if residual > 0 else search.upper
    return replace(
        search,
        beta=_safeguard(proposal, beta, (lower, upper), residual),
        lower=lower,
        upper=upper,
        residual=residual,
        stalls=stalls,
        updates=updates,
    )


def _propose(goal: Goal, beta: float, moments: Moments) -> float:
    """The unsafeguarded next β."""
    if goal.quantity is Quantity.MEAN:
        return beta + _halley(goal.residual(moments), moments.var, moments.m3)
    # In log K against log β the Gaussian-linear case is a line, which one step solves; K' and K''
    # turn into these by the chain rule.
    if not moments.kl > 0 or not moments.var > 0:
        return math.nan
    slope = beta**2 * moments.var / moments.kl
    curvature = slope * (2 + beta * moments.m3 / moments.var - slope)
    step = _halley(math.log(moments.kl / goal.value), slope, curvature)
    return beta * math.exp(min(step, math.log(LARGEST_FACTOR)))


def _halley(residual: float, slope: float, curvature: float) -> float:
    """Second-order step to the root of a function with this value, slope and curvature."""
    denominator = 2 * slope**2 - residual * curvature
    if not denominator > 0:  # the model bends away from the root: as far as the cap allows
        return math.copysign(math.inf, -residual)
    return -2 * residual * slope / denominator


def _safeguard(
    proposal: float, beta: float, bracket: tuple[float, float], residual: float
) -> float:
    """`proposal` if it is inside the bracket and the cap, else a bisection in log β.

    The bisection is between the visited β and the end of the bracket on the root's side.
    """
    lower, upper = bracket
    cap = LARGEST_FACTOR * beta
    if proposal > cap and cap < upper:
        return cap
    if lower < proposal < upper:
        return proposal
    if residual < 0:
        return cap if math.isinf(upper) else math.sqrt(beta * upper)
    return math.sqrt(lower * beta) if lower > 0 else beta / 4
