"""Criteria read off the pixels themselves (§4.2)."""

from __future__ import annotations

from torch import Tensor


def white(x: Tensor) -> Tensor:
    """f(x) = Σ pixels: thick strokes. Shape (n,) for images x of shape (n, *X)."""
    return x.flatten(1).sum(-1)


def black(x: Tensor) -> Tensor:
    """f(x) = −Σ pixels: thin strokes. Shape (n,) for images x of shape (n, *X)."""
    return -white(x)
