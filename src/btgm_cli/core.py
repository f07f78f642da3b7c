"""The nouns of one run: protocols, plain result data, statuses and errors.

Nothing here imports another module of the package. Divergences are in nats, all logs natural.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
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


class Criterion(Protocol):
    """What to favour: f(x), larger is better. A plain function qualifies."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """f of shape (n,) for x of shape (n, *X)."""
        ...


class Status(StrEnum):
    """How a run ended. Failure is data: each but OK travels with a remedy."""

    OK = "ok"
    MAX_UPDATES = "max_updates"
    INFEASIBLE = "infeasible_target"
    NONFINITE = "nonfinite"


class BtgmError(Exception):
    """Something the user can mend; its text is one line and needs no traceback."""


class SettingError(BtgmError):
    """A setting that cannot be used: names the setting, its value and the choices."""

    def __init__(self, setting: str, value: object, expected: str) -> None:
        super().__init__(f"{setting}={value!r}: {expected}")
        self.setting = setting


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

    `reliable` is False where the estimate must not be read as truth (see `method`'s module).
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
    reliable: bool


@dataclass(frozen=True)
class PathPoint:
    """One finished β: what was reached, against the reference, and the flow that reached it."""

    moments: Moments
    reference: Reference
    kl_gap: float
    kl_gap_se: float
    ess_fraction: float
    steps: int
    f_evals: int
    seconds: float
    status: Status
    flow_state: State = field(repr=False)


@dataclass(frozen=True)
class TuneResult:
    """What Algorithm 1 leaves: its status with a remedy, the path by pass, and the last β."""

    status: Status
    message: str
    remedy: str
    points: Sequence[PathPoint]
    trace: Sequence[dict[str, Any]]

    @property
    def beta(self) -> float:
        """The β of the last pass."""
        return self.points[-1].moments.beta
