"""`make bench`: what a training step costs, over the bare gradient of the criterion."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import torch

from btgm_cli.core import Criterion, GenerativeModel
from btgm_cli.flows import InverseAutoregressive
from btgm_cli.loading import load_criterion, load_model
from btgm_cli.seeds import derived_generator
from btgm_cli.tuning import Tuning
from btgm_cli.tuning.training import Schedule, begin, train

ROUNDS = 30


def main() -> None:
    """Print the table for `gan_mnist` / `log_class4` with the default flow and batch."""
    model, criterion, settings = load_model("gan_mnist"), load_criterion("log_class4"), Tuning()
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, ",
        end="",
    )
    print(f"torch {torch.__version__}, batch {settings.batch_size}; medians of {ROUNDS}, ms")
    times = measure(model, criterion, settings)
    for name, milliseconds in times.items():
        print(f"{name:28} {milliseconds:8.1f} {milliseconds / times['training step']:7.0%}")
    print(
        f"step / criterion gradient    {times['training step'] / times['criterion gradient']:8.2f}"
    )


def measure(model: GenerativeModel, criterion: Criterion, settings: Tuning) -> dict[str, float]:
    """Milliseconds of a training step and of its parts, taken in turn round after round."""
    generator = derived_generator(0, "bench")
    flow = InverseAutoregressive(model.latent_dim)
    training = begin(flow, settings, generator)
    z = model.sample_prior(settings.batch_size, generator)

    def step() -> None:
        steps = training.step + 1
        train(model, criterion, training, Schedule(1.0, 1.0, steps), settings)

    def criterion_gradient() -> None:
        at = z.clone().requires_grad_()
        torch.autograd.grad(criterion(model.decode(at)).sum(), at)

    def decoder_gradient() -> None:
        at = z.clone().requires_grad_()
        torch.autograd.grad(model.decode(at).sum(), at)

    def flow_gradient() -> None:
        moved, log_det = flow(z)
        (moved.sum() + log_det.sum()).backward()

    parts = {
        "training step": step,
        "criterion gradient": criterion_gradient,
        "  of it the decoder": decoder_gradient,
        "flow, forward and backward": flow_gradient,
    }
    return _medians(parts)


def _medians(parts: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Interleaved, so that a slow moment of the machine falls on every part alike."""
    times: dict[str, list[float]] = {name: [] for name in parts}
    for k in range(ROUNDS + 3):
        for name, part in parts.items():
            started = time.perf_counter()
            part()
            if k >= 3:
                times[name].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    main()
