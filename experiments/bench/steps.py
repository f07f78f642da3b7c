"""Part `steps`: what a training step costs, over the bare gradient of the criterion."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from experiments.bench.settings import Settings
from experiments.bench.table import Table

from btgm_cli.cli.loading import load_criterion, load_model
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.tuned.flows import InverseAutoregressive
from btgm_cli.tuning import Tuning
from btgm_cli.tuning.training import Schedule, Training, take_step

COLUMNS = ("part", "milliseconds", "share_of_step")
ROUNDS, QUICK_ROUNDS = 30, 2
WARM_UP = 3
"""Rounds before the first that counts."""


def run(settings: Settings) -> None:
    """The table for `gan_mnist` / `log_class4` with the default flow and batch."""
    table = Table(settings.folder / "steps.csv", COLUMNS, key=1)
    if not table.rows:
        # The parts are timed in turn, so that the rows are known all at once.
        rounds = QUICK_ROUNDS if settings.quick else ROUNDS
        f = LatentCriterion(load_model("gan_mnist"), load_criterion("log_class4"))
        times = measure(f, Tuning(), rounds)
        table.add(
            *(
                {"part": part, "milliseconds": ms, "share_of_step": ms / times["training step"]}
                for part, ms in times.items()
            )
        )
    table.show()


def measure(f: LatentCriterion, settings: Tuning, rounds: int) -> dict[str, float]:
    """Median milliseconds of a step and of its parts, taken in turn round after round."""
    model = f.model
    generator = derived_generator(0, "bench")
    flow = InverseAutoregressive(model.latent_dim)
    training = Training(flow, settings, Schedule(1.0, 1.0, rounds + WARM_UP), generator)
    z = model.sample_prior(settings.batch_size, generator)

    def step() -> None:
        take_step(f, training, 1.0, settings)

    def criterion_gradient() -> None:
        at = z.clone().requires_grad_()
        torch.autograd.grad(f(at).sum(), at)

    def decoder_gradient() -> None:
        at = z.clone().requires_grad_()
        torch.autograd.grad(model.decode(at).sum(), at)

    def flow_gradient() -> None:
        moved, log_det = flow(z)
        (moved.sum() + log_det.sum()).backward()

    parts = {
        "training step": step,
        "criterion gradient": criterion_gradient,
        "decoder gradient": decoder_gradient,
        "flow gradient": flow_gradient,
    }
    return _medians(parts, rounds)


def _medians(parts: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Interleaved, so that a slow moment of the machine falls on every part alike."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for k in range(rounds + WARM_UP):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            if k >= WARM_UP:
                times[name].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in times.items()}
