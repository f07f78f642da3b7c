"""What a run leaves, as plain data. Divergences are in nats, all logs natural.

A field's column in the tables of a run is its own name, or the one that it is annotated with; see
`store.rows`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Protocol

from torch import Tensor

State = dict[str, Tensor]


class Status(StrEnum):
    """The verdict on a run. Each but OK travels with its reason and a remedy.

    Examples:
        >>> from btgm_cli import Status
        >>> print(*Status, sep=", ")  # doctest: +NORMALIZE_WHITESPACE
        ok, ok_corrected, undertrained, mode_dropped, infeasible_target,
        unreliable_reference, unreliable_criterion
        >>> Status.MODE_DROPPED == "mode_dropped"  # as `status` of pareto.csv has it
        True
    """

    OK = "ok"
    OK_CORRECTED = "ok_corrected"
    UNDERTRAINED = "undertrained"
    MODE_DROPPED = "mode_dropped"
    INFEASIBLE = "infeasible_target"
    UNRELIABLE_REFERENCE = "unreliable_reference"
    UNRELIABLE_CRITERION = "unreliable_criterion"


@dataclass(frozen=True)
class Verdict:
    """A status, its reason, and which settings of the tuning a remedy would raise.

    Args:
        status: of this β: `ok`, `ok_corrected`, or what is wrong.
        reason: why, in words; empty for `ok`.
        to_raise: settings of the tuning that would mend it where they are raised.
    """

    status: Status
    reason: str = ""
    to_raise: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moments:
    """Moments of f and the KL of one tilt, with Monte-Carlo standard errors (KL in nats).

    For an exact value the errors are 0 and n is 0.

    Args:
        beta: β of the tilt.
        mean: E f, in the criterion's unit.
        var: variance of f.
        m3: third central moment of f.
        kl: KL(q‖p), nats.
        loss: L(β) = KL(q‖p) − β E_q f, nats; its error is smaller than its terms' because they
            vary together.
        n: draws behind these figures.
    """

    beta: float
    mean: Annotated[float, "mean_f"]
    mean_se: Annotated[float, "mean_f_se"]
    var: Annotated[float, "var_f"]
    m3: Annotated[float, "m3_f"]
    kl: float
    kl_se: float
    loss: float
    loss_se: float
    n: Annotated[int, "n_eval"]


@dataclass(frozen=True)
class Reference:
    """The exact tilt at one β as well as it is known: closed form or estimated.

    Args:
        beta: β of the tilt.
        mean: E f of the exact tilt.
        var: variance of f under it.
        m3: third central moment of f under it.
        kl: KL(q_β‖p), nats.
        log_z: log Z(β), nats.
        method: how it is known: `closed_form`; `psis`, importance sampling from p, or `mis`, with
            the draws of q̂; `smc`, or `bridge`, with those of p and q̂.
        ess: effective draws behind it; infinite for a closed form.
        pareto_k: shape k̂ of their weights' tail; −inf where there is none.
        reliable: False where the estimate must not be read as truth, as where log Z lies beyond
            one of its bounds.
    """

    beta: float
    mean: Annotated[float, "mean_f_ref"]
    mean_se: Annotated[float, "mean_f_ref_se"]
    var: Annotated[float, "var_f_ref"]
    m3: Annotated[float, "m3_f_ref"]
    kl: Annotated[float, "kl_ref"]
    kl_se: Annotated[float, "kl_ref_se"]
    log_z: Annotated[float, "log_z_ref"]
    log_z_se: Annotated[float, "log_z_ref_se"]
    method: Annotated[str, "ref_method"]
    ess: Annotated[float, "ref_ess"]
    pareto_k: Annotated[float, "ref_pareto_k"]
    reliable: Annotated[bool, "ref_reliable"]


@dataclass(frozen=True)
class Particles:
    """Draws from the exact tilt, as well as it is known: z (n, D) with f (n,)."""

    z: Tensor
    f: Tensor


@dataclass(frozen=True)
class Figures:
    """What is measured of q̂ at one β, beside the exact tilt.

    Args:
        moments: of q̂, from its own draws.
        reference: the exact tilt.
        kl_gap: KL(q̂ ‖ q_β) = L(β) + log Z(β), nats: 0 for the exact tilt alone.
        ess_fraction: effective share of q̂'s draws for q_β.
        pareto_k: shape k̂ of the weights p e^{βf} / q̂ on q̂'s draws.
        log_z: log Z(β) from those weights, nats; a lost mode lowers it.
        log_z_lower: −L(β), nats: for any q̂ no more than log Z(β), but for its error; or what wide
            draws of an explicit density find, where that is surely more.
        log_z_upper: from the reference's draws weighted as draws for q̂, nats: −log of the mean of
            q̂ / p e^{βf}, no less than log Z(β), but for its error, for any q̂; infinite where q̂
            has none of them (Grosse, Ghahramani & Adams 2015).
        fresh_mean: E f of q̂ with noise drawn anew, where the decoder is stochastic and the noise
            behind f̂ fixed; E f̂ itself elsewhere.
        noise_share: share of the move of E f̂ from p to q̂ that fresh noise does not confirm; 0
            where there is no noise.
        log_weight_bound: log of the largest weight that a corrected draw can have, nats, where the
            share of p's own is least and no f exceeds the largest met.
        n_compare: independent draws of the reference behind the figures below.
        coverage: share of the reference's draws within q̂'s region of highest density (99 %).
        precision: share of q̂'s draws within the exact tilt's such region.
        forward_kl: KL(q_β ‖ q̂) on the reference's draws, nats; infinite where q̂ has none.
        acceptance_rate: share of the draws offered that learned acceptance keeps.
        class_shares: of q̂'s draws, one after the other, where the criterion knows classes.
        class_shares_ref: the same of the reference's draws.
        beta_own: β on the scale of the criterion as its author wrote it, before normalization.
        beta_normalized: β on the scale of f with variance 1 under p (§4.2).
    """

    moments: Moments
    reference: Reference
    kl_gap: float
    kl_gap_se: float
    ess_fraction: float
    pareto_k: float
    log_z: float
    log_z_se: float
    log_z_lower: float
    log_z_lower_se: float
    log_z_upper: float
    log_z_upper_se: float
    fresh_mean: Annotated[float, "mean_f_fresh"]
    fresh_mean_se: Annotated[float, "mean_f_fresh_se"]
    noise_share: float
    noise_share_se: float
    log_weight_bound: float
    n_compare: int
    coverage: float
    coverage_se: float
    precision: float
    forward_kl: float
    acceptance_rate: float
    class_shares: tuple[float, ...]
    class_shares_ref: tuple[float, ...]
    beta_own: float
    beta_normalized: float


@dataclass(frozen=True)
class Effort:
    """What a β cost.

    Args:
        steps: steps of training; 0 where only the acceptance was moved, see `tuning.settled`.
        f_evals: criterion evaluations, those with a gradient among them.
        f_gradients: those with a gradient.
        seconds: wall time, seconds.
        finite: False where the training met a loss or gradient that was not.
    """

    steps: int
    f_evals: int
    f_gradients: int
    seconds: float
    finite: bool


@dataclass(frozen=True)
class PathPoint:
    """One finished β.

    Args:
        figures: what was reached, against the reference.
        effort: what it cost.
        verdict: on this β, with its reason.
        weights: of the terms, where f is a sum whose weights were solved for; with views, and
            then where each is cut: a threshold, or a quantile.
        flow_state: weights of the flow.
        acceptance_state: of the learned acceptance; empty where there is none.
        paid: z (n, D) and f (n,) that were asked for on the way, for the next β to learn from;
            empty where nothing is learned from them.
    """

    figures: Figures
    effort: Effort
    verdict: Verdict
    weights: tuple[float, ...]
    flow_state: State = field(repr=False)
    acceptance_state: State = field(repr=False)
    paid: State = field(repr=False, default_factory=dict)

    @property
    def beta(self) -> float:
        """β."""
        return self.figures.moments.beta

    @property
    def status(self) -> Status:
        """The verdict's."""
        return self.verdict.status


class Paid(Protocol):
    """Values of f that have been paid for, by what they are of."""

    def recall(self, key: str) -> Tensor | None:
        """What an earlier sitting kept; None where it has to be evaluated."""
        ...

    def keep(self, key: str, values: Tensor) -> None:
        """Keep what has just been evaluated."""
        ...


class Journal(Protocol):
    """Where a run keeps what it has finished, so that a kill loses at most the step in flight."""

    @property
    def paid(self) -> Paid | None:
        """Values of f that need not be evaluated again, where they are kept."""
        ...

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
