"""Training q̂ at one β: minimize L(β) = KL(q̂‖p) − β E_q̂ f (Eq. 9).

By reparametrised gradients of f or of what is learned of it, or by the score. Or, where there are
draws of the tilt, minimize KL(q_β‖q̂) on these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.tuned.flows import Flow
from btgm_cli.tuned.regression import Pairs, some
from btgm_cli.tuning.settings import Gradient, Tuning

MAX_GRADIENT_NORM = 10.0
"""Clipping against the rare draw at a cliff of f; far above the norms of ordinary steps."""


MOST_SEEN = 200_000
"""Pairs (z, f) kept from a training, the last ones."""


class Seen:
    """The last pairs (z, f) that a training has evaluated: a ring of at most `MOST_SEEN`."""

    def __init__(self) -> None:
        self.rows = torch.empty(0)
        self.count = 0

    def add(self, z: Tensor, f: Tensor) -> None:
        """Keep a batch z (n, D), f (n,)."""
        batch = torch.cat([z, f[:, None].to(z)], -1).detach()
        if not self.rows.numel():
            self.rows = batch.new_empty(MOST_SEEN, batch.shape[-1])
        places = torch.arange(self.count, self.count + len(batch), device=batch.device)
        self.rows[places % MOST_SEEN] = batch
        self.count += len(batch)

    @classmethod
    def of(cls, rows: Tensor, count: int) -> Seen:
        """The ring that holds these rows (n, D + 1) after `count` pairs."""
        seen = cls()
        if count:
            seen.rows, seen.count = rows.new_empty(MOST_SEEN, rows.shape[-1]), count
            seen.rows[: len(rows)] = rows
        return seen

    def pairs(self) -> tuple[Tensor, Tensor]:
        """z (n, D) and f (n,)."""
        rows = self.rows[: self.count]
        return rows[:, :-1], rows[:, -1]


ASKING = (Gradient.REPARAMETRISED, Gradient.SCORE)
"""What asks f itself of every batch."""

FULL_RATE_MOVE = 0.2
"""A warm start whose β moves by at least this share trains at the full learning rate."""

SMALLEST_RATE = 0.1
"""Share of the learning rate that the smallest move of β gets."""


@dataclass(frozen=True)
class Trained:
    """What a training left: its effort, see `Effort`, and the pairs (z, f) that it paid for."""

    steps: int = 0
    f_evals: int = 0
    f_gradients: int = 0
    finite: bool = True
    paid: tuple[tuple[Tensor, Tensor], ...] = ()


@dataclass(frozen=True)
class Schedule:
    """What one training aims at: from the last β to the new one within `steps` steps."""

    start: float
    beta: float
    steps: int


class Training:
    """State of the training at one β; `state_dict` and `load` carry it across a kill.

    Args:
        flow: trained in place, with an optimizer of its own.
        settings: the learning rate.
        schedule: how many steps the rate is spread over.
        generator: of the batches.

    Where `data` are given, draws of the tilt with their f, it is these that the flow is fitted to.
    """

    def __init__(
        self, flow: Flow, settings: Tuning, schedule: Schedule, generator: torch.Generator
    ) -> None:
        self.flow, self.schedule, self.generator = flow, schedule, generator
        self.optimizer = torch.optim.Adam(flow.parameters(), lr=settings.learning_rate, fused=True)
        self.rate = LambdaLR(self.optimizer, lambda step: _rate(step / schedule.steps))
        # The mean of the weights over the last steps removes the noise of single batches.
        self.average = AveragedModel(flow, avg_fn=_running_mean)
        self.seen = Seen()
        self.data: Pairs | None = None
        self.step = 0
        self.finite = True

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "flow": self.flow.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rate": self.rate.state_dict(),
            "average": self.average.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "finite": self.finite,
            "seen": self.seen.rows[: self.seen.count].clone(),
            "seen_count": self.seen.count,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.flow.load_state_dict(state["flow"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rate.load_state_dict(state["rate"])
        self.average.load_state_dict(state["average"])
        self.generator.set_state(state["generator"])
        self.step, self.finite = state["step"], state["finite"]
        self.seen = Seen.of(state["seen"], state["seen_count"])


class OfLatent(Protocol):
    """A function of z, such as f̂, beside the model whose latent space it is on."""

    @property
    def model(self) -> GenerativeModel:
        """For p."""
        ...

    def __call__(self, z: Tensor) -> Tensor:
        """Values of shape (n,) for z of shape (n, D)."""
        ...


def train(
    f: OfLatent,
    training: Training,
    settings: Tuning,
    *,
    until: int | None = None,
    on_step: Callable[[int, float, float], None] | None = None,
    save: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Train in place; at the end of its schedule, leaves the averaged weights in the flow.

    A loss or gradient that is not finite ends the training with `training.finite` False and the
    last good weights.

    Args:
        f: the latent criterion f̂, with its model, or what stands for it.
        training: state to start from, fresh or loaded.
        settings: batch size, shares, and which gradient.
        until: the step to stop at, before the end of the schedule.
        on_step: told the step, and the batch's KL (nats) and mean of f, after each step.
        save: given a checkpoint each `settings.checkpoint_every` steps.
    """
    schedule = training.schedule
    last = schedule.steps if until is None else until
    while training.step < last:
        beta = _annealed(schedule, training.step / schedule.steps, settings.anneal)
        kl, mean = take_step(f, training, beta, settings)
        if not training.finite:
            break
        training.step += 1
        if training.step > (1 - settings.average) * schedule.steps:
            training.average.update_parameters(training.flow)
        if on_step:
            on_step(training.step, kl, mean)
        if save and training.step % settings.checkpoint_every == 0:
            save(training.state_dict())
    ended = training.step == schedule.steps or not training.finite
    if ended and training.average.n_averaged > 0:
        training.flow.load_state_dict(training.average.module.state_dict())


def take_step(
    f: OfLatent, training: Training, beta: float, settings: Tuning
) -> tuple[float, float]:
    """One Adam step on L(β), in place; returns the batch's KL (nats) and mean of f."""
    if training.data is not None:
        of_tilt = some(training.data, settings.batch_size, training.generator)
        batch = likelihood_loss(f.model, training.flow, *of_tilt)
    else:
        z0 = f.model.sample_prior(settings.batch_size, training.generator)
        loss = score_loss if settings.gradient is Gradient.SCORE else reparametrised_loss
        batch = loss(f, training.flow, z0, beta)
    training.optimizer.zero_grad()
    batch.loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(training.flow.parameters(), MAX_GRADIENT_NORM)
    training.finite = bool(torch.isfinite(norm)) and bool(torch.isfinite(batch.loss))
    if training.finite:
        training.optimizer.step()
        training.rate.step()
        if settings.gradient in ASKING:
            training.seen.add(batch.z, batch.f)
    return batch.log_ratio.mean().item(), batch.f.mean().item()


@dataclass(frozen=True)
class Batch:
    """A loss to descend, and what it was made of: z (n, D), log q̂ − log p and f of shape (n,)."""

    loss: Tensor
    z: Tensor
    log_ratio: Tensor
    f: Tensor


def reparametrised_loss(f: OfLatent, flow: Flow, z0: Tensor, beta: float) -> Batch:
    """L(β) on draws z0 (n, D) of p, whose gradient goes through f̂ (Eq. 9)."""
    z, log_det = flow(z0)
    log_ratio = f.model.prior_log_prob(z0) - log_det - f.model.prior_log_prob(z)
    values = f(z)
    loss = (log_ratio - beta * values).mean()
    return Batch(loss, z.detach(), log_ratio.detach(), values.detach())


def score_loss(f: OfLatent, flow: Flow, z0: Tensor, beta: float) -> Batch:
    """A loss whose gradient estimates that of L(β) from values of f̂ alone.

    ∇L = E[(l − b) ∇ log q̂] with l = log q̂ − log p − βf (variational optimization). The baseline
    b is the mean of l over the other draws of the batch, which leaves the estimate unbiased
    (Kool, van Hoof & Welling 2019). With log q̂ within l its variance vanishes where q̂ is the
    tilt, since l is constant there (Richter et al. 2020).
    """
    with torch.no_grad():
        z, log_det = flow(z0)
        log_ratio = f.model.prior_log_prob(z0) - log_det - f.model.prior_log_prob(z)
        values = f(z).to(log_ratio)
        cost = log_ratio - beta * values
        advantage = (cost - cost.mean()) * len(cost) / max(len(cost) - 1, 1)
    back, log_det = flow.inverse(z)
    log_q = f.model.prior_log_prob(back) - log_det
    return Batch((advantage * log_q).mean(), z, log_ratio, values)


def likelihood_loss(model: GenerativeModel, flow: Flow, z: Tensor, f: Tensor) -> Batch:
    """−log q̂ on draws z (n, D) of the tilt with f (n,): KL(q_β‖q̂) but for a constant."""
    z0, log_det = flow.inverse(z)
    log_q = model.prior_log_prob(z0) - log_det
    log_ratio = log_q.detach() - model.prior_log_prob(z)
    return Batch(-log_q.mean(), z, log_ratio, f)


def warm_share(moved: float) -> float:
    """Share of the learning rate for a warm start, given how far the tilt is from the last one.

    The full rate would shake a trained flow by more than a small move asks for.
    """
    return min(1.0, max(moved / FULL_RATE_MOVE, SMALLEST_RATE))


def _annealed(schedule: Schedule, progress: float, share: float) -> float:
    """β at this progress: linear from the last to the new one, then constant."""
    part = min(1.0, progress / share) if share > 0 else 1.0
    return schedule.start + part * (schedule.beta - schedule.start)


def _rate(progress: float) -> float:
    """One-cycle factor of the learning rate: a short warm-up, then a cosine to zero."""
    warm_up = 0.05
    if progress < warm_up:
        return (progress + 1e-2) / (warm_up + 1e-2)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def _running_mean(mean: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
    """The mean of `count` + 1 values, from that of the first `count`."""
    return torch.lerp(mean, value, 1 / (int(count) + 1))
