"""A conditional density of summary statistics, learned from simulations: log q(s | θ).

Each statistic, given θ and those before it, is a mixture of normals whose weights, means and
scales a network gives (Bishop, *Mixture Density Networks*, 1994; in a chain as the masked
autoregressive density of Papamakarios, Sterratt & Murray, *Sequential Neural Likelihood*, AISTATS
2019). So it may be skewed, bounded or of several modes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.pretraining.trainee import falling, seeded

HIDDEN, COMPONENTS = 32, 8
BATCH, RATE = 500, 1e-2
FEWEST_STEPS, MOST_STEPS = 300, 3000
EPOCHS = 20
"""Of steps, between these two."""

STEEPEST = 10.0
"""Norm that a gradient is cut to: first simulations are of all the prior."""

LOG_SCALES = 7.0
"""Of a component, at most, on scales of order one."""

SPREAD = 1.5
"""Of the components' first means."""

TINY = 1e-12

SCALES = ("of_places", "of_statistics")


@dataclass(frozen=True)
class Units:
    """What a round has simulated: units, each at its place.

    Args:
        u: θ on scales of order one, shape (M, P).
        s: statistics of a unit at each, shape (M, S).
    """

    u: Tensor
    s: Tensor

    @classmethod
    def together(cls, rounds: Sequence[Units]) -> Units:
        """Of several rounds."""
        return cls(torch.cat([one.u for one in rounds]), torch.cat([one.s for one in rounds]))


@dataclass(frozen=True)
class Scale:
    """A shift and a scale for each column.

    Args:
        center: shape (C,).
        spread: shape (C,).
    """

    center: Tensor
    spread: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Scale:
        """By mean and deviation of x (n, C)."""
        return cls(x.mean(0), x.std(0).clamp(min=TINY))

    def __call__(self, x: Tensor) -> Tensor:
        """x (n, C) on scales of order one."""
        return (x - self.center) / self.spread


class Chain(nn.Module):
    """A mixture for each statistic, of what comes before it; weights are of shape (S, …).

    Args:
        n_parameters: P.
        n_statistics: S.
    """

    seen: Tensor

    def __init__(self, n_parameters: int, n_statistics: int) -> None:
        super().__init__()
        P, S = n_parameters, n_statistics
        before = torch.arange(P + S) < P + torch.arange(S)[:, None]
        self.register_buffer("seen", before[..., None].float(), persistent=False)
        self.first, self.bias_1 = _weights(S, P + S, HIDDEN)
        self.second, self.bias_2 = _weights(S, HIDDEN, HIDDEN)
        self.last, self.bias_3 = _weights(S, HIDDEN, 3 * COMPONENTS)
        self.across = nn.Parameter(torch.zeros(S, P + S, 3 * COMPONENTS))
        with torch.no_grad():
            self.last.mul_(0.1)
            means = self.bias_3[..., COMPONENTS : 2 * COMPONENTS]
            means.add_(torch.linspace(-SPREAD, SPREAD, COMPONENTS))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log-weights, means, log-scales, shape (S, n, K) each, for x (n, P + S) of `inputs`."""
        each = x.expand(len(self.seen), -1, -1)
        h = torch.tanh(torch.baddbmm(self.bias_1, each, self.first * self.seen))
        h = torch.tanh(torch.baddbmm(self.bias_2, h, self.second))
        out = torch.baddbmm(self.bias_3, h, self.last) + each @ (self.across * self.seen)
        weights, means, scales = out.split(COMPONENTS, 2)
        return weights.log_softmax(2), means, scales.clamp(-LOG_SCALES, LOG_SCALES)

    def log_prob(self, x: Tensor, s: Tensor) -> Tensor:
        """log q of s (n, S), shape (n,), on its scale, for x of `inputs`."""
        log_w, means, scales = self(x)
        z = (s.T[..., None] - means) * torch.exp(-scales)
        each = log_w - 0.5 * z.square() - scales - 0.5 * math.log(2 * math.pi)
        log_q: Tensor = each.logsumexp(2).sum(0)
        return log_q

    def below(self, x: Tensor, s: Tensor) -> Tensor:
        """Probability of less than s (n, S), of each statistic given those before it, (n, S)."""
        log_w, means, scales = self(x)
        z = (s.T[..., None] - means) * torch.exp(-scales)
        share: Tensor = (log_w.exp() * torch.special.ndtr(z)).sum(2).T
        return share


def inputs(u: Tensor, s: Tensor) -> Tensor:
    """What a chain sees (n, P + S) of u (n, P) and s (n, S), on scales of order one.

    What is far away, as most simulations of the prior are, is seen as by its logarithm.
    """
    return torch.asinh(torch.cat([u, s], 1))


@dataclass(frozen=True)
class Density:
    """log q(s | θ) of one unit's statistics.

    Beyond the box of all places it is that at its nearest side: a network that has seen nothing
    there may explain any data.

    Args:
        chain: in double precision.
        of_places: scale of u.
        of_statistics: scale of s.
        low: of all places, shape (P,).
        high: likewise.
    """

    chain: Chain
    of_places: Scale
    of_statistics: Scale
    low: Tensor
    high: Tensor

    def log_prob(self, u: Tensor, s: Tensor) -> Tensor:
        """log q of units s (N, S) together, nats, shape (n,), at u (n, P)."""
        each = self.chain.log_prob(*self._pairs(u, s)).view(len(u), len(s))
        volume = len(s) * self.of_statistics.spread.log().sum()
        log_q: Tensor = each.sum(1) - volume
        return log_q

    def chi2(self, u: Tensor, s: Tensor) -> Tensor:
        """Square of the distance of units s (N, S) as the normal numbers that q turns them into.

        Shape (n,), of N S degrees of freedom where s is of q at u (n, P).
        """
        below = self.chain.below(*self._pairs(u, s)).clamp(TINY, 1 - TINY)
        chi2: Tensor = torch.special.ndtri(below).square().sum(1).view(len(u), len(s)).sum(1)
        return chi2

    def _pairs(self, u: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """`inputs` of each u (n, P) with each of the units s (N, S), and these, (n N, …)."""
        inside = torch.maximum(torch.minimum(u, self.high), self.low)
        places = self.of_places(inside).repeat_interleave(len(s), 0)
        statistics = self.of_statistics(s).repeat(len(u), 1)
        return inputs(places, statistics), statistics

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """All of it by name, for a file."""
        found = {f"chain.{name}": x for name, x in self.chain.state_dict().items()}
        for key in SCALES:
            found |= {f"{key}.{name}": x for name, x in vars(getattr(self, key)).items()}
        found |= {"low": self.low, "high": self.high}
        return {name: x.numpy() for name, x in found.items()}

    @classmethod
    def of(cls, found: Mapping[str, Tensor]) -> Density:
        """From the arrays of a file."""
        places, statistics = (
            Scale(found[f"{key}.center"], found[f"{key}.spread"]) for key in SCALES
        )
        with seeded(0):  # whose weights are replaced
            chain = Chain(len(places.center), len(statistics.center)).double()
        names = chain.state_dict()
        chain.load_state_dict({name: found[f"chain.{name}"] for name in names})
        return cls(chain.requires_grad_(False), places, statistics, found["low"], found["high"])


def fitted_density(rounds: Sequence[Units], last: Sequence[Units], seed: int) -> Density:
    """The density of the greatest likelihood, each round counting as much as any other.

    The first round is all that tells where the data are not to be expected, and has the fewest
    units: were each unit to count alike, a place far away might be held to explain the data.

    Args:
        rounds: all simulations.
        last: of these, the rounds near the data, which tell the scales.
        seed: of weights and batches.
    """
    near = Units.together(last)
    of_places, of_statistics = Scale.of(near.u), Scale.of(near.s)
    seen = []
    for one in rounds:
        y = of_statistics(one.s)
        seen.append((inputs(of_places(one.u), y).float(), y.float()))
    with seeded(derived_seed(seed, "density")) as generator:
        chain = Chain(near.u.shape[1], near.s.shape[1])
    optimizer = torch.optim.Adam(chain.parameters(), RATE)
    n = sum(len(one.u) for one in rounds)
    steps = min(max(EPOCHS * n // BATCH, FEWEST_STEPS), MOST_STEPS)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, falling(steps, 0.0))
    share = BATCH // len(rounds)
    with torch.enable_grad():
        for _ in range(steps):
            chosen = [torch.randint(len(y), (share,), generator=generator) for _, y in seen]
            pairs = [(x[k], y[k]) for (x, y), k in zip(seen, chosen, strict=True)]
            x, y = (torch.cat(part) for part in zip(*pairs, strict=True))
            loss = -chain.log_prob(x, y).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(chain.parameters(), STEEPEST)
            optimizer.step()
            rate.step()
    chain = chain.double().requires_grad_(False)
    u = Units.together(rounds).u
    return Density(chain, of_places, of_statistics, u.amin(0), u.amax(0))


def _weights(*shape: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weights (S, in, out) of variance 1/in and biases (S, 1, out) of zero."""
    weights = torch.randn(shape) / math.sqrt(shape[1])
    return nn.Parameter(weights), nn.Parameter(torch.zeros(shape[0], 1, shape[2]))
