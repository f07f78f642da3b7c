"""What a strategy asks a visit for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from btgm_cli.core.results import Moments


@dataclass(frozen=True)
class Tilt:
    """A tilt to visit.

    Args:
        beta: β.
        enough: are the errors of these moments small enough?
        of_kl: is it the KL's error alone that this asks for?
        stays: is it so near the one trained for last that the model stays as it is?
    """

    beta: float
    enough: Callable[[Moments], bool] = lambda _: True
    of_kl: bool = False
    stays: bool = False
