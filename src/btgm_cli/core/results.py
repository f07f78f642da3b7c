"""What a run leaves, as plain data. Divergences are in nats, all logs natural."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from torch import Tensor

State = dict[str, Tensor]


class Status(StrEnum):
    """The verdict on a run. Each but OK travels with its reason and a remedy."""

    OK = "ok"
    OK_CORRECTED = "ok_corrected"
    UNDERTRAINED = "undertrained"
    MODE_DROPPED = "mode_dropped"
    INFEASIBLE = "infeasible_target"
    UNRELIABLE_REFERENCE = "unreliable_reference"


@dataclass(frozen=True)
class Moments:
    """Moments of f and the KL of one tilt, with Monte-Carlo standard errors (KL in nats).

    `loss` is L(β) = KL(q‖p) − β E_q f; its error is smaller than its terms' because they vary
    together. For an exact value the errors are 0 and n is 0.
    """

    beta: float
    mean: float
    mean_se: float
    var: float
    m3: float
    kl: float
    kl_se: float
    loss: float
    loss_se: float
    n: int


@dataclass(frozen=True)
class Reference:
    """The exact tilt at one β as well as it is known: closed form or estimated.

    `ess` is the number of effective draws behind it (infinite for a closed form), `pareto_k` the
    shape k̂ of their weights' tail (−inf where there is none). `reliable` is False where the
    estimate must not be read as truth.
    """

    beta: float
    mean: float
    mean_se: float
    var: float
    m3: float
    kl: float
    kl_se: float
    log_z: float
    log_z_se: float
    method: str
    ess: float
    pareto_k: float
    reliable: bool


@dataclass(frozen=True)
class Particles:
    """Draws from the exact tilt, as well as it is known: z (n, D) with f (n,)."""

    z: Tensor
    f: Tensor


@dataclass(frozen=True)
class PathPoint:
    """One finished β: what was reached, against the reference, and the flow that reached it.

    Args:
        moments: of q̂, from its own draws.
        reference: the exact tilt.
        kl_gap: KL(q̂ ‖ q_β), nats, with its error.
        ess_fraction: effective share of q̂'s draws for q_β.
        pareto_k: shape k̂ of the weights p e^{βf} / q̂ on q̂'s draws.
        log_z: log Z(β) from those weights, nats, with its error; a lost mode lowers it.
        coverage: share of the reference's draws within q̂'s region of highest density (99 %).
        precision: share of q̂'s draws within the exact tilt's such region.
        forward_kl: KL(q_β ‖ q̂) on the reference's draws, nats; infinite where q̂ has none.
        acceptance: share of the flow's draws that learned acceptance keeps.
        class_shares: of q̂'s draws, and of the reference's, where the criterion knows classes.
        steps: of training.
        f_evals: criterion evaluations, those with a gradient among them.
        finite: False where the training met a loss or gradient that was not.
        beta_own: β on the scale of the criterion as its author wrote it, before normalization.
        beta_normalized: β on the scale of f with variance 1 under p (§4.2).
        weights: of the terms, where f is a sum whose weights were solved for.
        status: the verdict on this β.
        flow_state: weights of the flow.
        acceptance_state: of the learned acceptance; empty where there is none.
    """

    moments: Moments
    reference: Reference
    kl_gap: float
    kl_gap_se: float
    ess_fraction: float
    pareto_k: float
    log_z: float
    log_z_se: float
    coverage: float
    coverage_se: float
    precision: float
    forward_kl: float
    acceptance: float
    class_shares: tuple[float, ...]
    class_shares_ref: tuple[float, ...]
    steps: int
    f_evals: int
    seconds: float
    finite: bool
    beta_own: float
    beta_normalized: float
    weights: tuple[float, ...]
    status: Status
    flow_state: State = field(repr=False)
    acceptance_state: State = field(repr=False, default_factory=dict)


class Journal(Protocol):
    """Where a run keeps what it has finished, so that a kill loses at most the step in flight."""

    def points(self) -> list[PathPoint]:
        """The points finished by an earlier, interrupted run, in order."""
        ...

    def add_point(self, index: int, point: PathPoint) -> None:
        """Keep a finished point."""
        ...

    def training_state(self, index: int) -> dict[str, Any] | None:
        """The last training checkpoint of this point, if any."""
        ...

    def save_training_state(self, index: int, state: dict[str, Any]) -> None:
        """Keep a training checkpoint of this point."""
        ...


@dataclass(frozen=True)
class Progress:
    """Where the training stands; `kl` (nats) and `mean` are running estimates from batches."""

    index: int
    beta: float
    step: int
    steps: int
    kl: float
    mean: float
    passes: int | None
