"""`model=simulator`: its prior as a generator, with simulated data beside θ where asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.core.prior import StandardNormal
from btgm_cli.domains.simulators.simulator import Simulator


class Parameters(StandardNormal):
    """x = θ of shape (n, P), through a bijection of z ~ N(0, I).

    A lone parameter has a companion in z that nothing depends on, for a flow needs two.

    Args:
        simulator: whose parameters they are.
    """

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(max(len(simulator.prior), 2))
        self.simulator = simulator

    def decode(self, z: Tensor) -> Tensor:
        """θ of shape (n, P), differentiable in z (n, D)."""
        return self.simulator.prior.of_latent(z)


class Simulated(Parameters):
    """x = θ and the mean summary statistics of one data set there, shape (n, P + S).

    The noise is the data set's seed. x has no gradient, for the data have none.

    Args:
        simulator: whose parameters and data they are.
        size: units in a data set.
    """

    def __init__(self, simulator: Simulator, size: int) -> None:
        super().__init__(simulator)
        self.size = size

    def decode(self, z: Tensor) -> Tensor:
        """x with one seed for all z (n, D)."""
        return self.decode_with(z, torch.zeros(1, 1, dtype=torch.long).expand(len(z), 1))

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """n seeds, shape (n, 1)."""
        device = generator.device
        seeds: Tensor = torch.randint(2**62, (n, 1), generator=generator, device=device)
        return seeds

    def decode_with(self, z: Tensor, noise: Tensor) -> Tensor:
        """x (n, P + S), or (k, n, P + S) for seeds (k, 1, 1): the same ones for each z."""
        theta = self.simulator.prior.of_latent(z.detach()).cpu()
        shape = torch.broadcast_shapes(noise.shape[:-1], theta.shape[:-1])
        seeds = noise[..., 0].expand(shape).flatten().tolist()
        theta = theta.expand(*shape, -1).flatten(0, -2)
        statistics = self.simulator.data(theta, self.size, seeds)
        x = torch.cat([theta, torch.from_numpy(statistics).to(theta)], 1)
        rows: Tensor = x.unflatten(0, shape).to(z.device)
        return rows


def load_simulator(
    simulate: str,
    prior: Mapping[str, Any],
    summary: str | None = None,
    columns: Sequence[str] | None = None,
    size: int | None = None,
    processes: int = 0,
    seconds: float = 60.0,
    most_failed: float = 0.05,
) -> Parameters:
    """A simulator's prior as a generator.

    Args:
        simulate: `module:function` or a command, see `Simulator`.
        prior: over the parameters, see `Prior.of`.
        summary: `module:function`, of units of data to their statistics.
        columns: names of the data's columns.
        size: units of the data set that x has beside θ; None leaves x = θ.
        processes: that run side by side; 0 calls a function in this process.
        seconds: that a call may take.
        most_failed: share of calls that may fail.

    Raises:
        SettingError: a setting that cannot be used, or a simulator that does not do what it must.
    """
    if size is not None and (isinstance(size, bool) or size < 1):
        raise SettingError("model.size", size, "must be a whole number, 1 or more, or null")
    made = Simulator(simulate, prior, summary, columns, processes, seconds, most_failed)
    return Parameters(made) if size is None else Simulated(made, size)
