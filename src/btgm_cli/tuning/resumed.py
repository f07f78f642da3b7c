"""Whether a finished point of an earlier sitting is the one that is asked for now."""

from __future__ import annotations

import math

from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import PathPoint
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuning.settings import Tuning

SAME = 1e-6
"""Relative difference of a β that is still the same: another machine's figures, from which β and
weights are solved for, round otherwise."""


def require_same(
    point: PathPoint,
    index: int,
    asked: tuple[float, ...],
    settings: Tuning,
    acceptance: Acceptance | None,
) -> None:
    """Refuse a finished row of another tilt, or of another kind of model.

    Args:
        point: as the journal has it.
        index: of the row.
        asked: β and the weights.
        settings: of this sitting.
        acceptance: what this sitting learns, if anything.

    Raises:
        SettingError: names the row.
    """
    row, found = f"resume: row {index}", (point.beta, *point.weights)
    told, wanted = (", ".join(f"{value:.6g}" for value in tilt) for tilt in (found, asked))
    if len(found) != len(asked) or not all(map(_is_same, found, asked)):
        expected = f"the run has β and weights {told} there; choose another directory"
        raise SettingError(row, wanted, expected)
    if bool(acceptance) != bool(point.acceptance_state):
        expected = "the run was tuned with another one; choose another directory"
        name = f"{row}: tuning.min_acceptance_rate"
        raise SettingError(name, settings.min_acceptance_rate, expected)


def _is_same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SAME)
