"""What keeps a tuned model from the tilts of Fig. 10: how rough f is, and what is learned of it.

    python -m experiments.remedy.limits [FOLDER]

A tempered SMC gives particles of the tilts. `rough.csv`: by how much f changes when they are moved
a little. `learned.csv`: a network s, as learned acceptance has it, is fitted to values of f that
the SMC has asked for and left again, and judged by its error e = f − s on the particles.

Of p·exp(βs) in place of p·exp(βf) KL is log E exp(βe) − β E e, about β² Var e / 2, and E f is
short of the tilt's by β Cov(f, e), about β Var e where e has nothing to do with s. So what is
asked for of the gap and of E f tells how large e may be.
"""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from experiments.remedy.check import GAIN

from btgm_cli import Thresholds, load_criterion, load_model
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.tables import write_table
from btgm_cli.truth.references import latent_smc
from btgm_cli.truth.smc import POPULATIONS, TemperedSMC
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.regression import Pairs, Pool, fit

SEED, N = 0, 6000
BETAS = (0.25, 0.5)

MOVED = (0.05, 0.1, 0.2, 0.4)
"""Standard deviations of normal noise on every coordinate of z."""

LESSONS = {
    0.25: ((80_000, 2000),),
    0.5: ((20_000, 2000), (80_000, 500), (80_000, 2000), (80_000, 8000)),
}
"""Pairs, and steps of a fit to them, each of 512 pairs."""


def roughness(f: LatentCriterion, smc: TemperedSMC, beta: float) -> Iterator[dict]:
    """Changes of f, nats, where particles at a beta are moved."""
    rng = derived_generator(SEED, "rough", beta)
    found = smc.particles(beta, N, rng)
    told = {"beta": beta, "sd_z": found.z.std(0).mean().item(), "sd_f": found.f.std().item()}
    for step in MOVED:
        near = found.z + step * torch.randn(found.z.shape, generator=rng)
        change = evaluate(f, near).double() - found.f
        yield told | {"moved": step, "sd_change": change.std().item()}


def lessons(smc: TemperedSMC, beta: float, start: float) -> Iterator[dict]:
    """What is left of f, on particles at a beta, when s has learned from what the SMC asked.

    Args:
        smc: asked for no larger beta so far, so that what it asked for last is near this one.
        beta: the tilt.
        start: E f under p.
    """
    rng = derived_generator(SEED, "lessons", beta)
    first, passed = smc.ladder[0], smc.passed()
    prior = first.z.flatten(0, 1), first.f.flatten().float()
    judge, tilt = smc.particles(beta, N, rng), smc.at(beta)
    for pairs, steps in LESSONS[beta]:
        near = passed.z[-pairs:], passed.f[-pairs:].float()
        begun = time.process_time()
        s = learned(prior, near, beta, steps, tilt.mean, rng)
        with torch.no_grad():
            error = judge.f - s.predict(judge.z).double()
        yield {
            "beta": beta,
            "pairs": len(near[1]),
            "steps": steps,
            "seconds": time.process_time() - begun,
            "sd_f": math.sqrt(tilt.var),
            "sd_error": error.std().item(),
            "gap": beta**2 * error.var().item() / 2,
            "short": beta * error.var().item(),
            "sd_for_ok": math.sqrt(2 * Thresholds().kl_gap) / beta,
            "sd_for_gain": math.sqrt(GAIN * (tilt.mean - start) / beta),
        }


def learned(
    prior: Pairs, near: Pairs, beta: float, steps: int, typical: float, rng: torch.Generator
) -> Acceptance:
    """s, fitted afresh."""
    s = Acceptance(near[0].shape[-1], SEED)
    fit(s, Pool(prior, [near]), beta, steps, rng, typical)
    return s


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/remedy")
    where.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    f = LatentCriterion(load_model("vae_mnist"), load_criterion("discriminator"))
    smc = latent_smc(f, derived_generator(SEED, "limits"), math.ceil(N / POPULATIONS))
    start = smc.at(0.0).mean
    rough, kept = list(roughness(f, smc, 0.0)), []
    for beta in BETAS:
        smc.at(beta)
        rough += roughness(f, smc, beta)
        write_table(where / "rough.csv", rough)
        for row in lessons(smc, beta, start):
            kept.append(row)
            write_table(where / "learned.csv", kept)
            print(row, flush=True)
