"""The nouns of one run: protocols, plain result data, statuses and errors.

Nothing here imports another module of the package. Divergences are in nats, all logs natural.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

State = dict[str, Tensor]


@runtime_checkable
class GenerativeModel(Protocol):
    """A frozen generator with a latent prior: z ~ p(z), x = decode(z)."""

    @property
    def latent_dim(self) -> int:
        """D, the dimension of the latent space."""
        ...

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw z ~ p(z), shape (n, D), on the generator's device."""
        ...

    def prior_log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, shape (n,), for z of shape (n, D)."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """x of shape (n, *X) for z of shape (n, D): frozen, in eval mode, differentiable in z."""
        ...


@runtime_checkable
class StochasticDecoder(Protocol):
    """A model whose x given z is random, through noise that can be held fixed."""

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n noises, shape (n, *E)."""
        ...

    def decode_with(self, z: Tensor, noise: Tensor) -> Tensor:
        """x (n, *X) for z (n, D) and noise (n, *E), differentiable in z."""
        ...


class Criterion(Protocol):
    """What to favour: f(x), larger is better. A plain function qualifies."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """f of shape (n,) for x of shape (n, *X)."""
        ...


@runtime_checkable
class Classified(Protocol):
    """A criterion that also tells the class of x, so that a lost class can be named."""

    def classes(self, x: Tensor) -> Tensor:
        """Class of each x (n, *X): whole numbers of shape (n,)."""
        ...

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        ...


class Status(StrEnum):
    """The verdict on a run. Each but OK travels with its reason and a remedy."""

    OK = "ok"
    OK_CORRECTED = "ok_corrected"
    UNDERTRAINED = "undertrained"
    MODE_DROPPED = "mode_dropped"
    INFEASIBLE = "infeasible_target"
    UNRELIABLE_REFERENCE = "unreliable_reference"


class BtgmError(Exception):
    """Something the user can mend; its text is one line and needs no traceback."""


class SettingError(BtgmError):
    """A setting that cannot be used: names the setting, its value and the choices."""

    def __init__(self, setting: str, value: object, expected: str) -> None:
        super().__init__(f"{setting}={value!r}: {expected}")
        self.setting = setting


FIG5_BETAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""The path of the paper's Fig. 5."""


@dataclass(frozen=True)
class Target:
    """What Algorithm 1 is to meet: exactly one of these; none means the path of Fig. 5.

    Args:
        C_D: KL budget KL(q‖p) in nats (Eq. 1).
        C_f: mean E_q f in the criterion's unit (Eq. 4).
        rho: mass of the top quantile to sample, a KL budget of −log ρ nats (§4.1).
        betas: a warm-started path of tilts, increasing: the Pareto front.

    Raises:
        SettingError: two of them, or a value out of range.
    """

    C_D: float | None = None
    C_f: float | None = None
    rho: float | None = None
    betas: Sequence[float] | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            text = ", ".join(f"target.{name}" for name in given)
            raise SettingError("target", given, f"give one target, not {len(given)} ({text})")
        if self.C_D is not None and not 0 < self.C_D < math.inf:
            raise SettingError("target.C_D", self.C_D, "must be a positive number of nats")
        if self.C_f is not None and not math.isfinite(self.C_f):
            raise SettingError("target.C_f", self.C_f, "must be finite")
        if self.rho is not None and not 0 < self.rho < 1:
            raise SettingError("target.rho", self.rho, "must be between 0 and 1")
        if self.betas is not None:
            self._check_betas(tuple(self.betas))

    @property
    def path(self) -> tuple[float, ...] | None:
        """The betas to visit, or None when they are searched for."""
        if self.betas is not None:
            return tuple(float(beta) for beta in self.betas)
        searched = (self.C_D, self.C_f, self.rho) != (None, None, None)
        return None if searched else FIG5_BETAS

    def _check_betas(self, betas: tuple[float, ...]) -> None:
        numbers = [b for b in betas if isinstance(b, int | float) and not isinstance(b, bool)]
        valid = len(numbers) == len(betas) > 0 and all(0 <= b < math.inf for b in numbers)
        if not valid or any(b >= c for b, c in pairwise(betas)):
            expected = "must be a list of increasing numbers, 0 or more, such as [0,0.5,1]"
            raise SettingError("target.betas", list(betas), expected)


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
