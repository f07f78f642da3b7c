"""How Algorithm 1 chooses its tilts: a strategy proposes, a visit tunes, the strategy learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from btgm_cli.core.results import PathPoint, Status, Verdict
from btgm_cli.tuning.tilts import Tilt
from btgm_cli.tuning.visit import Visits

Row = dict[str, Any]

UNFINISHED = Verdict(Status.UNDERTRAINED, "the search did not end there", ("max_updates", "steps"))
"""On a model that is right for its β, which is not the one that was looked for."""


@dataclass(frozen=True)
class Outcome:
    """How a strategy ended.

    Args:
        verdict: on the run.
        text: one sentence on how it ended.
        remedy: settings that would mend it, where they are not the verdict's own.
    """

    verdict: Verdict
    text: str
    remedy: str = ""


class Strategy(Protocol):
    """Which tilts to visit, in which order, and what it means."""

    @property
    def passes(self) -> int | None:
        """Visits that are planned; None where that depends on what they find."""
        ...

    @property
    def f_evals(self) -> int:
        """Criterion evaluations spent beside the visits and the last tilt's reference."""
        ...

    def first(self, visits: Visits) -> Tilt:
        """Where to begin."""
        ...

    def next(self, visits: Visits) -> Tilt | None:
        """Where to go from the last visited point; None ends the run.

        A strategy that changes f on the way says so by `visits.turn_to`.
        """
        ...

    def row(self) -> Row:
        """Its state after the last visit, for `trace.csv`."""
        ...

    def outcome(self, points: Sequence[PathPoint]) -> Outcome:
        """What came of it."""
        ...
