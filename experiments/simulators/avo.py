"""Adversarial variational optimization as published, for comparison: no anchor, no likelihood.

    python -m experiments.simulators.avo [FOLDER] [NAME …]

Louppe, Hermans & Cranmer, *Adversarial Variational Optimization of Non-Differentiable Simulators*,
AISTATS 2019. A critic d minimizes ½ (E d(fake) − E d(real)) + λ E(‖∇d‖ − 1)², a factored normal
q(θ) minimizes −E_q d(x) + γ H(q) by REINFORCE without a baseline. What the paper leaves open is
as in the authors' code: batches, activations, weights at the start, scales of θ, and which noise
comes back. Writes `avo_NAME.csv` of each, three seeds.
"""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from experiments.simulators.__main__ import TRUTHS, observed
from experiments.simulators.truths import Floats
from torch import Tensor, nn

from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.pretraining.trainee import seeded
from btgm_cli.domains.simulators.shipped import ROTATION, asymmetry, cosines
from btgm_cli.report.markdown import Row
from btgm_cli.store.tables import read_table, write_table

BATCH, CRITIC_STEPS, EPOCHS, RATE, HIDDEN = 64, 100, 301, 0.01, 10
"""BATCH draws of q for each of its steps; for each step of d half as many, and as many of data."""

LEAK, START = 0.1, 0.1
"""Slope of the critic's leaky ReLU below zero; its first weights, as a share of Glorot's range."""

SEEDS = 3

PUBLISHED_ROTATION = np.array(
    [
        [1.31229955, 0.10499961, 0.48310515, -0.3249938, -0.26387927],
        [0.10499961, 1.15833058, -0.55865473, 0.25275522, -0.39790775],
        [0.48310515, -0.55865473, 2.25874579, -0.52087938, -0.39271231],
        [0.3249938, 0.25275522, -0.52087938, 1.4034925, -0.63521059],
        [-0.26387927, -0.39790775, -0.39271231, -0.63521059, 1.0],
    ]
)
"""R of the 5-D simulator: no posterior depends on it, but a critic's slopes do."""


@dataclass(frozen=True)
class Published:
    """What is set for one simulator.

    Args:
        mean: where q starts, in units of θ, shape (P,).
        sd: likewise.
        scale: units of θ in one of those that q and its steps are in, shape (P,).
        penalty: λ.
        entropies: γ, a run each.
        first_steps: of the critic, before the first step of q.
        momenta: of Adam, for critic and q.
    """

    mean: tuple[float, ...]
    sd: tuple[float, ...]
    scale: tuple[float, ...]
    penalty: float
    entropies: tuple[float, ...]
    first_steps: int
    momenta: tuple[float, float] = (0.9, 0.999)


SETTINGS = {
    "poisson": Published((math.log(5),), (1.0,), (1.0,), 0.025, (0.0, 5.0), 100, (0.5, 0.5)),
    "linear5": Published((0.0, 0.0), (1.0, 1.0), (1.0, 1.0), 0.025, (10.0,), 100),
    "muons": Published((45.0, 1.0), (1.0, 0.1), (10.0, 1.0), 0.0025, (0.0, 5.0), 1000),
}


@dataclass(frozen=True)
class Found:
    """q at the end: mean and deviation of each parameter, and units simulated."""

    mean: Tensor
    sd: Tensor
    units: int


class Play:
    """Simulator and data, critic and q of one run.

    Args:
        name: of the simulator.
        seed: of everything random.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, derived_seed(seed, "avo", name)
        self.published = SETTINGS[name]
        self.real = torch.from_numpy(_turned(name, observed(name))).float()
        self.units = 0
        with seeded(self.seed):
            self.critic = critic_of(self.real.shape[1])
        scale = torch.tensor(self.published.scale)
        self.mean = (torch.tensor(self.published.mean) / scale).requires_grad_()
        self.log_sd = (torch.tensor(self.published.sd) / scale).log().requires_grad_()
        momenta = self.published.momenta
        self.of_critic = torch.optim.Adam(self.critic.parameters(), RATE, momenta)
        self.of_q = torch.optim.Adam([self.mean, self.log_sd], RATE, momenta)

    def fit_critic(self, steps: int) -> None:
        """Steps of d, its moments begun again: with them the noise, the same each time."""
        self.of_critic.state.clear()
        half = BATCH // 2
        for index in range(steps):
            rng = np.random.default_rng([self.seed, index])
            fake = self._fake(self._drawn(half, rng), rng)
            chosen = rng.choice(len(self.real), half, replace=False, shuffle=False)
            share = torch.from_numpy(rng.random((half, 1))).float()
            self.of_critic.zero_grad()
            loss = critic_loss(self.critic, self.real[chosen], fake, share, self.published.penalty)
            loss.backward()
            self.of_critic.step()

    def fit_q(self, index: int, entropy: float) -> None:
        """One step of q, by noise of its own for each."""
        rng = np.random.default_rng([self.seed, index])
        theta = self._drawn(BATCH, rng)
        with torch.no_grad():
            d = self.critic(self._fake(theta, rng))[:, 0]
        log_q = torch.distributions.Normal(self.mean, self.log_sd.exp()).log_prob(theta).sum(1)
        self.of_q.zero_grad()
        (-(d * log_q).mean() + entropy * self.log_sd.sum()).backward()
        self.of_q.step()

    def _drawn(self, n: int, rng: np.random.Generator) -> Tensor:
        """θ of q (n, P), on its scales."""
        noise = torch.from_numpy(rng.standard_normal((len(self.mean), n)).T).float()
        return (self.mean + self.log_sd.exp() * noise).detach()

    def _fake(self, theta: Tensor, rng: np.random.Generator) -> Tensor:
        """A unit (n, C) at each θ (n, P)."""
        self.units += len(theta)
        rows = (theta.double() * torch.tensor(self.published.scale)).tolist()
        x = np.concatenate([_simulated(self.name, row, rng) for row in rows])
        return torch.from_numpy(_turned(self.name, x)).float()


def avo(name: str, entropy: float, seed: int, epochs: int = EPOCHS) -> Found:
    """Run it on the data of a simulator.

    Args:
        name: of the simulator.
        entropy: γ.
        seed: of everything random.
        epochs: steps of q.
    """
    play = Play(name, seed)
    play.fit_critic(play.published.first_steps)
    for index in range(epochs):
        play.fit_q(index, entropy)
        play.fit_critic(CRITIC_STEPS)
    scale = torch.tensor(play.published.scale)
    mean, sd = play.mean.detach() * scale, play.log_sd.exp().detach() * scale
    return Found(mean, sd, play.units)


def critic_of(columns: int) -> nn.Module:
    """d: two layers of ten, with small weights and no offsets at the start."""
    layers = [nn.Linear(columns, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1)]
    for layer in layers[:2]:
        nn.init.xavier_uniform_(layer.weight, START)
    reach = START * math.sqrt(6 / HIDDEN)
    nn.init.uniform_(layers[2].weight, -reach, reach)
    for layer in layers:
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.LeakyReLU(LEAK), layers[1], nn.LeakyReLU(LEAK), layers[2])


def critic_loss(
    critic: nn.Module, real: Tensor, fake: Tensor, share: Tensor, penalty: float
) -> Tensor:
    """WGAN-GP's, between units (n, C) with the shares (n, 1) of the points between them.

    The difference is a mean over the batch of both, and so half of the Wasserstein distance.
    """
    between = (share * real + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    steepness = (slope.norm(dim=1) - 1).square().mean()
    difference = critic(fake).mean() - critic(real).mean()
    loss: Tensor = 0.5 * difference + penalty * steepness
    return loss


def _simulated(name: str, theta: list[float], rng: np.random.Generator) -> Floats:
    """One unit (1, C); q knows no bounds, so that of e⁺e⁻ → μ⁺μ⁻ a density is what is positive."""
    if name == "muons":
        return cosines(float(asymmetry(*theta)), 1, rng)
    simulate, truth, _ = TRUTHS[name]
    return simulate(dict(zip(truth, theta, strict=True)), 1, rng)


def _turned(name: str, x: Floats) -> Floats:
    """Units (n, C), those of the 5-D simulator by the published R in place of ours."""
    if name != "linear5":
        return x
    turned: Floats = x @ np.linalg.inv(ROTATION).T @ PUBLISHED_ROTATION.T
    return turned


def rows(name: str, entropy: float, seed: int) -> list[Row]:
    """One run, a row for each parameter."""
    began = time.process_time()
    found = avo(name, entropy, seed)
    seconds = time.process_time() - began
    return [
        {
            "simulator": name,
            "entropy": entropy,
            "seed": seed,
            "parameter": parameter,
            "mean": found.mean[k].item(),
            "sd": found.sd[k].item(),
            "units": found.units,
            "processor_seconds": seconds,
        }
        for k, parameter in enumerate(TRUTHS[name][1])
    ]


def make(folder: Path, names: list[str]) -> None:
    """All runs, a table for each simulator, written after each run."""
    for name in names:
        table, done = folder / f"avo_{name}.csv", list[Row]()
        for entropy in SETTINGS[name].entropies:
            for seed in range(SEEDS):
                done += rows(name, entropy, seed)
                write_table(table, done)
        print(read_table(table).to_string(), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = sys.argv[1:]
    make(Path(given[0] if given else "outputs/simulators"), given[1:] or list(SETTINGS))
