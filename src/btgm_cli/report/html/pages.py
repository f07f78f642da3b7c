"""From what a page tells to its text: templates that escape all that comes from outside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from btgm_cli.core.durations import duration
from btgm_cli.report.html.embedding import chart_uri
from btgm_cli.report.html.words import counted, meaning, number, tone, with_error

PAGE = "report.html"


@dataclass(frozen=True)
class Picture:
    """A picture with what it says to those who do not see it.

    Args:
        uri: its content.
        alt: what is in it.
        caption: what to read from it; may be empty.
    """

    uri: str
    alt: str
    caption: str = ""


def chart(figure: Figure, alt: str, caption: str = "") -> Picture:
    """A chart for a page."""
    return Picture(chart_uri(figure), alt, caption)


def render(template: str, **told: Any) -> str:
    """A page."""
    return _environment().get_template(template).render(**told)


@cache
def _environment() -> Environment:
    own = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (counted, duration, meaning, number, tone, with_error)
    own.filters |= {each.__name__: each for each in filters}
    return own
