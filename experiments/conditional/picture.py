"""The picture of the page: a row of draws for each digit, a panel for each way."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from btgm_cli.report.strips import strip_of
from btgm_cli.report.style import SMALL, TITLE, in_house_style

PANELS = {
    "tuned": "tuned, β = 1",
    "corrected": "corrected, β = 1",
    "conditional": "conditional VAE",
}


@in_house_style
def picture(shown: Mapping[tuple[str, int], NDArray[np.float32]]) -> Figure:
    """The first draws of each way and digit.

    Args:
        shown: images (n, H, W) in [0, 1] by way and digit, as many of each.
    """
    labels = sorted({label for _, label in shown})
    figure = Figure(figsize=(7.4, 3.5), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (way, text) in zip(panels, PANELS.items(), strict=True):
        strips = [strip_of(shown[way, label], len(shown[way, label])) for label in labels]
        spaced = [np.pad(strip, ((0, 1), (0, 0)), constant_values=np.nan) for strip in strips]
        stacked = np.concatenate(spaced)[:-1, :-1]
        axes.imshow(stacked, cmap="gray", vmin=0, vmax=1, interpolation="none")
        axes.set_title(text, loc="left", fontsize=TITLE)
        middles = (np.arange(len(labels)) + 0.5) * len(spaced[0]) - 1
        axes.set_yticks(middles, [str(label) for label in labels], fontsize=SMALL)
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    return figure
