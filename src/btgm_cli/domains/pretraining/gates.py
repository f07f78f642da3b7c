"""Gates: what a network must reach before it may travel with the package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1_000
SAMPLE_SEED = 1
"""Of the draws that every network is measured on."""


@dataclass(frozen=True)
class Gate:
    """One measured number and the range it must lie in, ends included."""

    name: str
    value: float
    low: float = -float("inf")
    high: float = float("inf")

    @property
    def passed(self) -> bool:
        """Whether the value is in range."""
        return self.low <= self.value <= self.high

    def __str__(self) -> str:
        verdict = "pass" if self.passed else "FAIL"
        bounds = [f">= {self.low:g}"] * (self.low > -float("inf"))
        bounds += [f"<= {self.high:g}"] * (self.high < float("inf"))
        return f"{self.name:<36} {self.value:>9.4f}   {' and '.join(bounds):<20} {verdict}"


@dataclass(frozen=True)
class GateReport:
    """The gates of a network and other numbers worth telling.

    Attributes:
        gates: What it must reach.
        metrics: Other numbers, by name.
        told: Gates of its kind that it need not pass.
    """

    gates: Sequence[Gate]
    metrics: dict[str, float]
    told: Sequence[Gate] = ()

    @property
    def passed(self) -> bool:
        """Whether every gate is passed."""
        return all(gate.passed for gate in self.gates)


def in_chunks(network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`network` of x (n, ...) without gradients, a chunk at a time to bound the memory."""
    with torch.no_grad():
        return torch.cat([network(chunk) for chunk in x.split(CHUNK)])
