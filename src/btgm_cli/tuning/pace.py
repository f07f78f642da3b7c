"""How long the steps of a tuning take on this machine: a few of them, tried on copies."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from statistics import median

from btgm_cli.core.latent_criterion import evaluate
from btgm_cli.core.seeds import derived_generator
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.mixture import Mixture
from btgm_cli.tuned.regression import Pool, fit
from btgm_cli.tuning.fitting import weighted
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.surrogate import Surrogate
from btgm_cli.tuning.training import Schedule, Training, take_step

TRIED = 3
"""Each is timed so often, behind a first time that does not count."""

MANY = 1000
"""Steps of a schedule that is hardly begun."""

N_TIMED = 250
"""Evaluations of f that are timed where no draws of p were."""

N_DRAWN = 1000
"""Draws of a tuned model that are timed."""


@dataclass(frozen=True)
class Pace:
    """Seconds, as they were measured.

    Args:
        evaluation: of f.
        step: a training step of the flow, f left out.
        fit: a step of the fit of what is learned of f.
        draw: a draw of the tuned model, undecoded.
    """

    evaluation: float
    step: float
    fit: float
    draw: float


def pace_of(problem: Problem, beta: float, evaluation: float | None = None) -> Pace:
    """The pace of a problem's tuning, by a flow that is thrown away and draws of no other use.

    Args:
        problem: what is tuned; it is left as it is.
        beta: any tilt.
        evaluation: seconds of one of f, if they are known.
    """
    generator = derived_generator(problem.seed, "pace", device=problem.device)
    model, settings, flow = problem.f.model, problem.settings, deepcopy(problem.flow)
    acceptance = Acceptance(model.latent_dim, problem.seed).to(problem.device)
    acceptance.nets.requires_grad_(False)
    surrogate, mixture = Surrogate(model, acceptance), Mixture(model, flow)
    training = Training(flow, settings, Schedule(0.0, beta, MANY), generator)
    z = model.sample_prior(N_TIMED, generator)
    pool = Pool((z, z[:, 0]))
    if evaluation is None:
        evaluation = _seconds(lambda: evaluate(problem.f, z)) / N_TIMED
    return Pace(
        evaluation,
        _seconds(lambda: take_step(surrogate, training, beta, settings)),
        _seconds(lambda: fit(acceptance, pool, beta, TRIED, generator)) / TRIED,
        _seconds(lambda: weighted(acceptance, mixture, N_DRAWN, generator)) / N_DRAWN,
    )


def _seconds(work: Callable[[], object]) -> float:
    """The median time that this takes, once it has been tried."""
    times = []
    for _ in range(1 + TRIED):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times[1:])
