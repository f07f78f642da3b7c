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
from experiments.simulators.__main__ import TRUTHS, observed
from experiments.simulators.truths import Floats

from btgm_cli.core.seeds import derived_seed
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

TURN = np.linalg.inv(ROTATION).T @ PUBLISHED_ROTATION.T


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

    mean: Floats
    sd: Floats
    units: int


class Adam:
    """Adam on arrays, in place.

    Args:
        arrays: what is stepped.
        momenta: of the slopes and of their squares.
    """

    def __init__(self, arrays: list[Floats], momenta: tuple[float, float]) -> None:
        self.arrays, self.momenta = arrays, momenta
        self.reset()

    def reset(self) -> None:
        """Forget all slopes."""
        self.first = [np.zeros_like(array) for array in self.arrays]
        self.second = [np.zeros_like(array) for array in self.arrays]
        self.steps = 0

    def step(self, slopes: list[Floats]) -> None:
        """One step down."""
        self.steps += 1
        b1, b2 = self.momenta
        c1, c2 = 1 - b1**self.steps, 1 - b2**self.steps
        parts = zip(self.arrays, self.first, self.second, slopes, strict=True)
        for array, first, second, slope in parts:
            first[...] = b1 * first + (1 - b1) * slope
            second[...] = b2 * second + (1 - b2) * slope**2
            array[...] -= RATE * (first / c1) / (np.sqrt(second / c2) + 1e-8)


class Critic:
    """d: two layers of ten, leaky, with small weights and no offsets at the start.

    Its slopes are by hand: a step by automatic differentiation takes ten times as long.

    Args:
        columns: of a unit.
        rng: of the weights.
    """

    def __init__(self, columns: int, rng: np.random.Generator) -> None:
        def drawn(rows: int, columns: int) -> Floats:
            reach = START * math.sqrt(6 / (rows + columns))
            return rng.uniform(-reach, reach, (rows, columns))

        self.w1, self.w2 = drawn(HIDDEN, columns), drawn(HIDDEN, HIDDEN)
        self.w3 = rng.uniform(-1, 1, HIDDEN) * START * math.sqrt(6 / HIDDEN)
        self.b1, self.b2 = np.zeros(HIDDEN), np.zeros(HIDDEN)
        self.arrays = [self.w1, self.b1, self.w2, self.b2, self.w3]

    def __call__(self, x: Floats) -> Floats:
        """d of units x (n, C), shape (n,); an offset would change nothing."""
        scores: Floats = self._layers(x)[3] @ self.w3
        return scores

    def _layers(self, x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Slopes of both layers' units at x and their values, shape (n, 10) each."""
        h1 = x @ self.w1.T + self.b1
        s1 = np.where(h1 > 0, 1.0, LEAK)
        h2 = (h1 * s1) @ self.w2.T + self.b2
        s2 = np.where(h2 > 0, 1.0, LEAK)
        return s1, h1 * s1, s2, h2 * s2

    def loss(self, real: Floats, fake: Floats, share: Floats, penalty: float) -> float:
        """WGAN-GP's, between units (n, C) with the shares (n, 1) of the points between them.

        The difference is a mean over the batch of both, and so half of the Wasserstein distance.
        """
        s1, _, s2, _ = self._layers(share * real + (1 - share) * fake)
        slope = ((s2 * self.w3) @ self.w2 * s1) @ self.w1
        steepness = np.square(np.linalg.norm(slope, axis=1) - 1).mean()
        difference = self(fake).mean() - self(real).mean()
        return float(0.5 * difference + penalty * steepness)

    def slopes(self, real: Floats, fake: Floats, share: Floats, penalty: float) -> list[Floats]:
        """Of the loss, in the order of `arrays`."""
        x, n = np.concatenate([fake, real]), len(real)
        s1, a1, s2, a2 = self._layers(x)
        weight = np.repeat([0.5 / n, -0.5 / n], n)[:, None]
        e2 = weight * s2 * self.w3
        e1 = e2 @ self.w2 * s1
        found = [e1.T @ x, e1.sum(0), e2.T @ a1, e2.sum(0), (weight * a2).sum(0)]
        s1, _, s2, _ = self._layers(share * real + (1 - share) * fake)
        u2 = s2 * self.w3
        u1 = u2 @ self.w2 * s1
        slope = u1 @ self.w1
        norm = np.linalg.norm(slope, axis=1, keepdims=True)
        g = 2 * penalty / n * (norm - 1) * slope / np.maximum(norm, 1e-12)
        g1 = g @ self.w1.T * s1
        found[0] += u1.T @ g
        found[2] += u2.T @ g1
        found[4] += (g1 @ self.w2.T * s2).sum(0)
        return found


class Play:
    """Simulator and data, critic and q of one run.

    Args:
        name: of the simulator.
        seed: of everything random.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, derived_seed(seed, "avo", name)
        self.published, self.units = SETTINGS[name], 0
        self.real = _turned(name, observed(name))
        self.critic = Critic(self.real.shape[1], np.random.default_rng(self.seed))
        self.scale = np.array(self.published.scale)
        self.mean = np.array(self.published.mean) / self.scale
        self.log_sd = np.log(np.array(self.published.sd) / self.scale)
        self.of_critic = Adam(self.critic.arrays, self.published.momenta)
        self.of_q = Adam([self.mean, self.log_sd], self.published.momenta)

    def fit_critic(self, steps: int) -> None:
        """Steps of d, its moments begun again: with them the noise, the same each time."""
        self.of_critic.reset()
        half = BATCH // 2
        for index in range(steps):
            rng = np.random.default_rng([self.seed, index])
            fake = self._fake(self._drawn(half, rng), rng)
            chosen = rng.choice(len(self.real), half, replace=False, shuffle=False)
            share, penalty = rng.random((half, 1)), self.published.penalty
            self.of_critic.step(self.critic.slopes(self.real[chosen], fake, share, penalty))

    def fit_q(self, index: int, entropy: float) -> None:
        """One step of q, by noise of its own for each: REINFORCE, −d ∇ log q + γ ∇H."""
        rng = np.random.default_rng([self.seed, index])
        theta = self._drawn(BATCH, rng)
        d = self.critic(self._fake(theta, rng))[:, None]
        sd = np.exp(self.log_sd)
        white = (theta - self.mean) / sd
        of_sd = (-d * (white**2 - 1)).mean(0) + entropy
        self.of_q.step([(-d * white / sd).mean(0), of_sd])

    def _drawn(self, n: int, rng: np.random.Generator) -> Floats:
        """θ of q (n, P), on its scales."""
        noise = rng.standard_normal((len(self.mean), n)).T
        theta: Floats = self.mean + np.exp(self.log_sd) * noise
        return theta

    def _fake(self, theta: Floats, rng: np.random.Generator) -> Floats:
        """A unit (n, C) at each θ (n, P)."""
        self.units += len(theta)
        rows = (theta * self.scale).tolist()
        return _turned(
            self.name, np.concatenate([_simulated(self.name, row, rng) for row in rows])
        )


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
    return Found(play.mean * play.scale, np.exp(play.log_sd) * play.scale, play.units)


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
    turned: Floats = x @ TURN
    return turned


def rows(name: str, entropy: float, seed: int) -> list[Row]:
    """One run, a row for each parameter."""
    began = time.process_time()
    found = avo(name, entropy, seed)
    seconds = time.process_time() - began
    run: Row = {"simulator": name, "entropy": entropy, "seed": seed}
    spent: Row = {"units": found.units, "processor_seconds": seconds}
    table = zip(TRUTHS[name][1], found.mean.tolist(), found.sd.tolist(), strict=True)
    return [run | {"parameter": key, "mean": mean, "sd": sd} | spent for key, mean, sd in table]


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
    given = sys.argv[1:]
    make(Path(given[0] if given else "outputs/simulators"), given[1:] or list(SETTINGS))
