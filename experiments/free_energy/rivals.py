"""Free energies by as many evaluations of u as a run and its free energy take: other samplers.

    pip install 'btgm[bench]'                                  # has BlackJAX
    python experiments/free_energy/rivals.py [FOLDER]

Tempered SMC alone, and the No-U-Turn sampler and adaptive tempered SMC of BlackJAX, from the same
p, on the double well and Müller–Brown, five seeds. An evaluation with its gradient counts as
three. Runs as of `check.py`, in its folder.
"""

import json
import math
import sys
import time
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import torch
from blackjax.smc import extend_params
from blackjax.smc.resampling import systematic
from check import HERE, SEEDS, SYSTEMS, System, exact, made, told
from jax import Array

from btgm_cli import load_run
from btgm_cli.cli.coordinates import coordinate_of
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.densities.systems import MUELLER_BROWN
from btgm_cli.report.markdown import Row
from btgm_cli.store.tables import write_table
from btgm_cli.truth.references import latent_smc

DRAWS = 100_000
"""Of `btgm free-energy`."""

REFERENCE = 100_000
"""Draws of p behind a run's log Z, which its `f_evals` leaves out."""

PILOT = 10_000

BUDGET = 30_500 + REFERENCE + PILOT + DRAWS
"""Evaluations of u: all that a run, its reference and its free energy take."""

OF_GRADIENT = 3
CHAINS, WARM_UP, STEPS, WALK = 4, 500, 10, 0.3
RUNG_ESS = 0.8
"""As our own SMC has it."""

TRIES, NEAR = 5, 0.03
"""Numbers of particles that our own SMC is tried with at most, to come so near to the budget."""

LogDensity = Callable[[Array], Array]
Prior = Callable[[Array, int], Array]

Found = tuple[float, float, float]
"""log Z, ΔF and evaluations; log Z is NaN where a method tells none."""


def double_well(x: Array) -> Array:
    """u of x (2,), kT."""
    return x[0] ** 4 - 6 * x[0] ** 2 + x[0] + x[1] ** 2 / 2


def muller_brown(x: Array) -> Array:
    """u of x (2,), kT."""
    height, a, b, c, at_x, at_y = jnp.array(MUELLER_BROWN).T
    dx, dy = x[0] - at_x, x[1] - at_y
    return 0.1 * (height * jnp.exp(a * dx**2 + b * dx * dy + c * dy**2)).sum()


ENERGIES = {"double_well": double_well, "muller_brown": muller_brown}


def sides(along: np.ndarray, weights: np.ndarray | None = None) -> float:
    """F(r > 0) − F(r < 0) of draws (n,) with these weights, or that weigh alike, kT."""
    above = float(np.average(along > 0, weights=weights))
    return math.log((1 - above) / above) if 0 < above < 1 else math.inf * (1 if not above else -1)


def ours(system: System, seed: int, folder: Path) -> Found:
    """A run and `btgm free-energy` of it."""
    run = made(folder, system.name, seed)
    row = load_run(run).pareto.iloc[-1]
    out = told(system, run, folder / f"{system.name}_{seed}_budget", DRAWS, seed)
    about = json.loads((out / "free_energy.json").read_text()) if out else {"delta_f_kt": math.nan}
    evals = int(row["f_evals"]) + REFERENCE + PILOT + DRAWS
    return float(row["log_z_ref"]), about["delta_f_kt"], evals


def our_smc(system: System, seed: int, folder: Path) -> Found:
    """Tempered SMC, as a run's reference has it, but from its own draws of p alone.

    How many moves it takes is its own to say, so that the number of particles is looked for that
    comes closest to the budget; what the search takes is not counted.
    """
    f = load_run(made(folder, system.name, seed)).f()
    particles, tries = 50, []
    for _ in range(TRIES):
        smc = latent_smc(f, derived_generator(seed, "rivals", particles), particles)
        evals = smc.cost(1.0)[0]
        off = abs(evals / BUDGET - 1)
        tries.append((off, evals, smc))
        if off < NEAR:
            break
        particles = int(particles * BUDGET / evals)
    _, evals, smc = min(tries, key=lambda tried: tried[0])
    particles, weights = smc.pool(1.0)
    along = coordinate_of(system.along, (2,))(f.model.decode(particles.z)).view_as(weights)
    above = (weights * (along > 0)).sum().item() / weights.sum().item()
    return smc.at(1.0).log_z, math.log((1 - above) / above), evals


def prior(system: System, folder: Path) -> tuple[LogDensity, LogDensity, Prior]:
    """log p, −u − log p, and draws of p, for BlackJAX."""
    model, energy = load_run(made(folder, system.name)).model, ENERGIES[system.name]
    mean, scale = jnp.array(model.mean.tolist()), jnp.array(model.scale.tolist())
    some = model.decode(model.sample_prior(100, derived_generator(0, "rivals"))).double()
    same = np.allclose(jax.vmap(energy)(jnp.array(some.numpy())), system.energy(some), rtol=1e-4)
    if not same:
        raise SystemExit(f"{system.name}: the two energies differ")

    def log_p(x: Array) -> Array:
        return jax.scipy.stats.norm.logpdf(x, mean, scale).sum()

    def draws(key: Array, n: int) -> Array:
        return mean + scale * jax.random.normal(key, (n, 2))

    return log_p, lambda x: -energy(x) - log_p(x), draws


def along_of(system: System, x: Array | np.ndarray) -> np.ndarray:
    """The coordinate of draws x (n, 2)."""
    return coordinate_of(system.along, (2,))(torch.from_numpy(np.array(x))).numpy()


@cache
def chains(system: System, folder: Path) -> tuple[Prior, Callable, Callable]:
    """Draws of p, a compiled warm-up of all chains, and 100 compiled draws of each."""
    log_p, log_l, draws = prior(system, folder)

    def log_density(x: Array) -> Array:
        return log_p(x) + log_l(x)

    warm_up = blackjax.window_adaptation(blackjax.nuts, log_density)
    kernel = blackjax.nuts.build_kernel()

    def adapted(key: Array, start: Array) -> tuple[Any, Any, Array]:
        found, info = warm_up.run(key, start, num_steps=WARM_UP)
        return found.state, found.parameters, info.info.num_integration_steps.sum()

    def drawn(key: Array, state: Any, parameters: Any) -> tuple[Any, Array, Array]:
        def one(state: Any, key: Array) -> tuple[Any, tuple[Array, Array]]:
            state, info = kernel(key, state, log_density, **parameters)
            return state, (state.position, info.num_integration_steps)

        state, (x, steps) = jax.lax.scan(one, state, jax.random.split(key, 100))
        return state, x, steps.sum()

    return draws, jax.jit(jax.vmap(adapted)), jax.jit(jax.vmap(drawn))


def nuts(system: System, seed: int, folder: Path) -> Found:
    """Chains from draws of p, adapted by windows; what the warm-up takes is counted."""
    draws, adapted, drawn = chains(system, folder)
    key, first, warm = jax.random.split(jax.random.key(seed), 3)
    state, parameters, steps = adapted(jax.random.split(warm, CHAINS), draws(first, CHAINS))
    spent, kept = int(steps.sum()), []
    while OF_GRADIENT * spent < BUDGET:
        key, now = jax.random.split(key)
        state, x, steps = drawn(jax.random.split(now, CHAINS), state, parameters)
        kept.append(np.array(x).reshape(-1, 2))
        spent += int(steps.sum())
    return math.nan, sides(along_of(system, np.concatenate(kept))), OF_GRADIENT * spent


@cache
def ladder(system: System, folder: Path) -> tuple[Prior, Any, Callable]:
    """Draws of p, and the compiled sampler with its step."""
    log_p, log_l, draws = prior(system, folder)
    kernel = blackjax.additive_step_random_walk.build_kernel()
    walk = blackjax.mcmc.random_walk.normal(jnp.array([WALK, WALK]))
    smc = blackjax.adaptive_tempered_smc(
        log_p,
        log_l,
        lambda key, state, log_density: kernel(key, state, log_density, walk),
        blackjax.additive_step_random_walk.init,
        extend_params({}),
        systematic,
        target_ess=RUNG_ESS,
        num_mcmc_steps=STEPS,
    )
    return draws, smc, jax.jit(smc.step)


def climbed(system: System, folder: Path, seed: int, n: int) -> tuple[Any, float, int]:
    """n particles at the target, log Z, and evaluations."""
    draws, smc, step = ladder(system, folder)
    key, first = jax.random.split(jax.random.key(seed))
    state, log_z, evals = smc.init(draws(first, n)), 0.0, n
    while state.tempering_param < 1:
        key, now = jax.random.split(key)
        state, info = step(now, state)
        log_z += float(info.log_likelihood_increment)
        evals += n * STEPS
    return state, log_z, evals


@cache
def as_many(system: System, folder: Path) -> int:
    """Particles that come to the budget."""
    return int(500 * BUDGET / climbed(system, folder, 0, 500)[2])


def tempered(system: System, seed: int, folder: Path) -> Found:
    """Adaptive tempered SMC with random-walk Metropolis moves; its last particles have weights."""
    state, log_z, evals = climbed(system, folder, seed, as_many(system, folder))
    return log_z, sides(along_of(system, state.particles), np.array(state.weights)), evals


WAYS: dict[str, Callable[[System, int, Path], Found]] = {
    "tuned, and free-energy": ours,
    "tempered SMC": our_smc,
    "BlackJAX tempered SMC": tempered,
    "BlackJAX NUTS": nuts,
}


def measured(folder: Path) -> list[Row]:
    """Every seed, system and way; the table is written after each."""
    rows: list[Row] = []
    for seed, system, (way, sample) in product(SEEDS, SYSTEMS, WAYS.items()):
        log_z, delta = (
            exact_log_z(system),
            exact(system, torch.tensor([0.0, 1.0], dtype=torch.double))[1],
        )
        started = time.process_time()
        found = sample(system, seed, folder)
        rows.append(
            {
                "system": system.name,
                "way": way,
                "seed": seed,
                "log_z_error": found[0] - log_z if math.isfinite(found[0]) else None,
                "delta_f_error_kt": found[1] - delta if math.isfinite(found[1]) else None,
                "evaluations": int(found[2]),
                "seconds": time.process_time() - started,
            }
        )
        write_table(HERE / "rivals.csv", rows)
        print(rows[-1], flush=True)
    return rows


def mean_size(errors: "pd.Series[float]") -> float:
    """Mean of the errors without their signs; NaN where one is not finite."""
    return float(errors.abs().mean(skipna=False))


def worst(errors: "pd.Series[float]") -> float:
    """The largest of them, likewise."""
    return float(errors.abs().max(skipna=False))


def exact_log_z(system: System) -> float:
    """log ∫ e^{−u} by quadrature, nats."""
    return math.log(system.masses(torch.linspace(-6, 6, 1201, dtype=torch.double)).sum().item())


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    sys.path.append(str(HERE))  # where `basins` is
    rows = measured(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/free_energy"))
    table = pd.DataFrame(rows).groupby(["system", "way"], sort=False)
    errors = table[["log_z_error", "delta_f_error_kt"]].agg([mean_size, worst])
    print(errors.to_string())
    print(table[["evaluations", "seconds"]].mean().to_string())
