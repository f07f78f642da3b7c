"""What draws will cost, as the terminal shows it before the work."""

from __future__ import annotations

import math
from collections.abc import Sequence

from btgm_cli.core.durations import duration
from btgm_cli.tuning.forecast import Forecast
from btgm_cli.tuning.ways import Way

COUNTS = (1000, 10_000, 100_000)
"""Effective draws."""

WIDTH = 24


def table(
    forecast: Forecast, ways: Sequence[Way] | None = None, counts: Sequence[int] = COUNTS
) -> str:
    """A heading, and four lines: evaluations of f and time for so many effective draws.

    Args:
        forecast: of the tilt.
        ways: beside what has been paid for; by default the forecast's.
        counts: of draws.
    """
    seen = forecast.seen
    source = f"{forecast.n_prior:,} draws of p" if forecast.n_prior else "the closed form"
    if not seen.clear:
        source += ", extrapolated"
    what = "further cost" if ways else "cost"
    lines = [
        f"estimated {what} of effective draws at β = {seen.beta:.4g}, by {source}: "
        "evaluations of f, time",
        "  draws     " + "".join(f"{n:>{WIDTH},}" for n in counts),
    ]
    for way in ways or forecast.ways:
        cells = "".join(f"{_cell(way, n):>{WIDTH}}" for n in counts)
        lines.append(f"  {way.method:10}{cells}")
    return "\n".join(lines)


def _cell(way: Way, n: int) -> str:
    """Evaluations and time of n draws."""
    evaluations = way.evaluations(n)
    if math.isinf(evaluations):
        return "out of reach"
    count = f"{evaluations:,.0f}" if evaluations < 1e9 else f"{evaluations:.1e}"
    return f"{'≥ ' * way.at_least}{count}, {duration(way.seconds(n))}"
