"""What fresh samples of tuned models look like: their classes and their strokes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.digits.classifier import load_classifier
from btgm_cli.store.loaded import LoadedRun

INK = 0.5
"""Pixels above this are ink."""


def looks(run: LoadedRun, n: int) -> list[dict[str, Any]]:
    """For each β of a run: shares of the classes and means over n fresh samples.

    `thickness` is in pixels, `pixel_sum` the mean of Σ pixels, each with its standard error.
    """
    classifier = load_classifier().eval()
    rows = []
    for index, beta in enumerate(run.pareto["beta"]):
        x = run.tuned(beta).sample(n, derived_generator(run.config["seed"], "figure", index))
        with torch.no_grad():
            shares = torch.bincount(classifier(x).argmax(-1), minlength=10) / n
        row = {"beta": float(beta), "n": n}
        row |= {f"share_{label}": share for label, share in enumerate(shares.tolist())}
        for name, values in (("thickness", thickness(x)), ("pixel_sum", x.flatten(1).sum(1))):
            row |= {name: values.mean().item(), f"{name}_se": values.std().item() / math.sqrt(n)}
        rows.append(row)
    return rows


def thickness(x: Tensor) -> Tensor:
    """Width of the strokes in pixels, shape (n,), of images x (n, 1, H, W) in [0, 1].

    Twice the area of the ink over its perimeter, for a stroke of width w and length L has area
    w L and perimeter 2 L + 2 w; 0 where there is no ink. The perimeter counts edges of pixels, so
    that a slanting stroke reads thinner than it is, up to √2 times: for comparing, not measuring.
    """
    ink = x[:, 0] > INK
    framed = pad(ink, (1, 1, 1, 1))
    across = framed[:, :, 1:] != framed[:, :, :-1]
    down = framed[:, 1:] != framed[:, :-1]
    perimeter = across.flatten(1).sum(1) + down.flatten(1).sum(1)
    return 2 * ink.flatten(1).sum(1) / perimeter.clamp(min=1)
