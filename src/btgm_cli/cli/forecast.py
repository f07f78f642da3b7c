"""What draws will cost, as the terminal shows it before the work."""

from __future__ import annotations

from collections.abc import Sequence

from btgm_cli.tuning.forecast import Forecast
from btgm_cli.tuning.ways import Way

COUNTS = (1000, 10_000, 100_000)
"""Effective draws."""

WIDTH = 24


def table(forecast: Forecast, counts: Sequence[int] = COUNTS) -> str:
    """A heading, and four lines: evaluations of f and seconds for so many effective draws."""
    seen = forecast.seen
    source = f"{forecast.n_prior:,} draws of p" if forecast.n_prior else "the closed form"
    if not seen.clear:
        source += ", extrapolated"
    lines = [
        f"estimated cost of effective draws at β = {seen.beta:.4g}, by {source}: "
        "evaluations of f, time",
        "  draws     " + "".join(f"{n:>{WIDTH},}" for n in counts),
    ]
    for way in forecast.ways:
        cells = "".join(f"{_cell(way, n):>{WIDTH}}" for n in counts)
        lines.append(f"  {way.method:10}{cells}")
    return "\n".join(lines)


def _cell(way: Way, n: int) -> str:
    """Evaluations and time of n draws."""
    evaluations = way.evaluations(n)
    count = f"{evaluations:,.0f}" if evaluations < 1e9 else f"{evaluations:.1e}"
    return f"{'≥ ' * way.at_least}{count}, {_duration(way.seconds(n))}"


def _duration(seconds: float) -> str:
    """In the unit that leaves two or three digits."""
    for unit, size in (("s", 1.0), ("min", 60.0), ("h", 3600.0)):
        if seconds < 100 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 86400:.2g} d"
