"""Pictures as data URIs: charts that follow the reader's colour scheme, and draws by the pixel."""

from __future__ import annotations

import base64
import re
from io import BytesIO, StringIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from btgm_cli.report.style import MUTED, REFERENCE, TUNED, in_house_style

PAPER = "#ffffff"
SERIES = (REFERENCE, TUNED, "#00795a", "#9c3f78", "#7a6000", "#4d4d4d")
"""Colours of fronts, told apart on white and, as below, on black."""

DARK = {
    "#000000": "#e6e6e3",
    MUTED: "#a3a39f",
    "#e6e6e6": "#3b3d42",
    PAPER: "#17191d",
    REFERENCE: "#63b7f2",
    TUNED: "#ff9a52",
    SERIES[2]: "#43cfa3",
    SERIES[3]: "#e79cc6",
    SERIES[4]: "#d9bd4f",
    SERIES[5]: "#c2c2be",
}
"""What each colour of a chart becomes where the reader prefers dark pages."""

_STYLE = (
    "<style>:root{{{light}}}"
    "@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    "svg{{fill:var(--c0)}}</style>"
)
_NAMES = {colour.lower(): f"--c{k}" for k, colour in enumerate(DARK)}


@in_house_style
def chart_uri(figure: Figure) -> str:
    """A figure as one SVG for both colour schemes: the same text for the same figure."""
    held = StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "btgm"}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(held, format="svg", transparent=True, metadata=metadata)
    svg = held.getvalue()
    svg = svg[svg.index("<svg") :]
    for colour, name in _NAMES.items():
        svg = re.sub(f"{colour}\\b", f"var({name})", svg, flags=re.IGNORECASE)
    light = ";".join(f"{name}:{colour}" for colour, name in _NAMES.items())
    dark = ";".join(f"{_NAMES[light.lower()]}:{dark}" for light, dark in DARK.items())
    end = svg.index(">") + 1
    style = _STYLE.format(light=light, dark=dark)
    return _uri("svg+xml", (svg[:end] + style + svg[end:]).encode())


def image_uri(pixels: NDArray[np.float32]) -> str:
    """Values from 0, black, to 1, of shape (H, W) or (H, W, 3), as a PNG of so many pixels."""
    held = BytesIO()
    imsave(held, pixels, cmap="gray", vmin=0, vmax=1, format="png")
    return _uri("png", held.getvalue())


def png_uri(path: Path) -> str:
    """A PNG file as it is."""
    return _uri("png", path.read_bytes())


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
