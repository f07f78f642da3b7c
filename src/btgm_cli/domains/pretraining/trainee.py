"""What is in training: networks with their optimizers, an average, one source of randomness."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from btgm_cli.store.checkpoints import StoredNetwork

NetworkT = TypeVar("NetworkT", bound=StoredNetwork)


class Schedule(Protocol):
    """The settings that every training has."""

    @property
    def steps(self) -> int:
        """Steps in all."""
        ...

    @property
    def hold(self) -> float:
        """Fraction of the steps before the learning rates start to fall to zero."""
        ...

    @property
    def average(self) -> float:
        """Decay of the averaged weights."""
        ...


class Trainee(ABC, Generic[NetworkT]):
    """Networks in training; the average of the first is what is kept.

    Args:
        networks: All that is trained.
        optimizers: Of them, at the rates that the training begins with.
        schedule: How long, and how the rates fall.
        rng: Of batches and noise: on the CPU for any device.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        optimizers: Sequence[Optimizer],
        schedule: Schedule,
        rng: torch.Generator,
    ) -> None:
        self.networks, self.optimizers, self.rng = networks, optimizers, rng
        factor = falling(schedule.steps, schedule.hold)
        self.rates = [LambdaLR(optimizer, factor) for optimizer in optimizers]
        self.average = moving_average(networks[0], schedule.average)

    @property
    def network(self) -> NetworkT:
        """The network to keep: the averaged weights."""
        return cast(NetworkT, self.average.module)

    @abstractmethod
    def descend(self, index: int) -> dict[str, float]:
        """Step the optimizers once; returns the losses of step `index` (from 0)."""

    def step(self, index: int) -> dict[str, float]:
        """Take step `index` (from 0), rates and average included; returns its losses."""
        losses = self.descend(index)
        for rate in self.rates:
            rate.step()
        self.average.update_parameters(self.networks[0])
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on."""
        parts = {name: [part.state_dict() for part in parts] for name, parts in self._parts()}
        return {**parts, "rng": self.rng.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned."""
        for name, parts in self._parts():
            for part, saved in zip(parts, state[name], strict=True):
                part.load_state_dict(saved)
        self.rng.set_state(state["rng"])

    def _parts(self) -> Iterator[tuple[str, Sequence[Any]]]:
        yield "networks", self.networks
        yield "average", [self.average]
        yield "optimizers", self.optimizers
        yield "rates", self.rates


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Weights made within are the seed's; yields a generator of the same seed for all the rest."""
    with torch.random.fork_rng(devices=[]):  # layers draw from the global generator
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def falling(steps: int, hold: float) -> Callable[[int], float]:
    """The factor of a rate at a step: 1 for the first `hold` of all, then straight down to 0."""
    return lambda step: min(1.0, (steps - step) / (steps * (1 - hold)))


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of the parameters of `network`, which counts as its first.

    Args:
        network: The network in training.
        decay: Weight of the past, in [0, 1). The first steps forget faster, so that the start is
            not remembered.
    """

    def towards(means: Sequence[Tensor], values: Sequence[Tensor], n: Tensor | int) -> None:
        weight = 1 - min(decay, int(n) / (9 + int(n)))
        for mean, value in zip(means, values, strict=True):
            mean.lerp_(value, weight)

    average = AveragedModel(network, multi_avg_fn=towards).requires_grad_(False)
    average.update_parameters(network)
    return average
