"""A given path of tilts: the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from btgm_cli.core.results import PathPoint, Status
from btgm_cli.truth.verdict import hopeless, worst
from btgm_cli.tuning.strategy import Outcome, Row
from btgm_cli.tuning.tilts import Tilt
from btgm_cli.tuning.visit import Visits


class Path:
    """The given betas in order: a `Strategy`.

    Args:
        betas: increasing.
    """

    f_evals = 0

    def __init__(self, betas: Sequence[float]) -> None:
        self._betas = betas
        self.passes = len(betas)

    def first(self, visits: Visits) -> Tilt:
        """The first β."""
        return Tilt(self._betas[0])

    def next(self, visits: Visits) -> Tilt | None:
        """The next β."""
        done = len(visits.points)
        return Tilt(self._betas[done]) if done < self.passes else None

    def row(self) -> Row:
        """A path has no state."""
        return {}

    def outcome(self, points: Sequence[PathPoint]) -> Outcome:
        """The worst point speaks for the path."""
        verdicts = [point.verdict for point in points]
        verdict = worst(verdicts)
        if hopeless(points[-1]):
            return Outcome(verdict, verdict.reason)
        text = (
            f"{len(points)} tilts tuned, "
            f"kl_gap at most {max(point.figures.kl_gap for point in points):.3g} nats, "
            f"ess_fraction at least {min(point.figures.ess_fraction for point in points):.3g}"
        )
        at = points[verdicts.index(verdict)].beta
        if verdict.reason:
            text += f"; at β = {at:.4g}: {verdict.reason}"
        corrected = verdict.status is Status.OK_CORRECTED
        return Outcome(verdict, text, f"beta={at:.6g} correct=resample" if corrected else "")
