"""The closest tilt to N(0, I₂) under views on `linear` and `quadratic`, by quadrature.

u, the normal that `linear` is, and w, at a right angle to it, are independent: `quadratic` is
−(u² + w²) / 2.

    python experiments/views/exact.py 'E(linear) = 4' 'CVaR(linear, 0.1) = 5.5'
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from scipy.optimize import root
from scipy.stats import norm

from btgm_cli.core.views import Kind, View

U, W = np.linspace(-7, 11, 1801), np.linspace(-7, 7, 701)


def solved(views: Sequence[View]) -> tuple[np.ndarray, np.ndarray, float]:
    """Multipliers, cuts and KL (nats) of the closest tilt; one tail's mean at most."""
    u, w = np.meshgrid(U, W, indexing="ij")
    values = {"linear": u, "quadratic": -(u**2 + w**2) / 2}
    log_p = norm.logpdf(u) + norm.logpdf(w)
    log_p -= np.logaddexp.reduce(log_p, None)
    tails = [view for view in views if view.kind is Kind.TAIL_MEAN]

    def tilt(theta: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, float]:
        cuts = [_cut(view, theta[-1]) for view in views]
        both = list(zip(views, cuts, strict=True))
        features = [_feature(view, values[view.of], cut) for view, cut in both]
        log_q = log_p + sum(x * g for x, g in zip(theta, features, strict=False))
        log_z = float(np.logaddexp.reduce(log_q, None))
        return np.exp(log_q - log_z), features, np.array(cuts), log_z

    def equations(theta: np.ndarray) -> list[float]:
        q, features, cuts, _ = tilt(theta)
        each = zip(views, features, cuts, strict=True)
        missing = [float((q * g).sum()) - view.goal(cut) for view, g, cut in each]
        beyond = [float((q * _above(values[t.of], theta[-1])).sum()) - t.at for t in tails]
        return missing + beyond

    start = [{"linear": 3.0, "quadratic": 0.1}[view.of] for view in views]
    start += [tail.value - 0.4 for tail in tails]
    theta = root(equations, start, tol=1e-9).x
    _, _, cuts, log_z = tilt(theta)
    multipliers = theta[: len(views)]
    goals = [view.goal(cut) for view, cut in zip(views, cuts, strict=True)]
    return multipliers, cuts, float(multipliers @ goals - log_z)


def _cut(view: View, quantile: float) -> float:
    return {Kind.MEAN: 0.0, Kind.PROBABILITY: view.at, Kind.TAIL_MEAN: quantile}[view.kind]


def _feature(view: View, f: np.ndarray, cut: float) -> np.ndarray:
    if view.kind is Kind.MEAN:
        return f
    return _above(f, cut) if view.kind is Kind.PROBABILITY else np.maximum(f - cut, 0)


def _above(f: np.ndarray, cut: float) -> np.ndarray:
    """1{f > cut}, linear over a width at which `root` can see its slope."""
    return np.clip((f - cut) / 0.05 + 0.5, 0, 1)


if __name__ == "__main__":
    asked = [View.parsed(statement) for statement in sys.argv[1:]]
    multipliers, cuts, kl = solved(asked)
    for view, multiplier, cut in zip(asked, multipliers, cuts, strict=True):
        print(f"{view.text}: multiplier {multiplier:.4f}, cut {cut:.4f}")
    print(f"KL {kl:.4f} nats")
