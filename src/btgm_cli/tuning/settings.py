"""How q̂ is trained and judged."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum

from btgm_cli.core.errors import SettingError


class Gradient(StrEnum):
    """How the flow learns from f."""

    AUTO = "auto"
    SURROGATE = "surrogate"
    REPARAMETRISED = "reparametrised"
    SCORE = "score"
    PARTICLES = "particles"


class FirstBeta(StrEnum):
    """What proposes the first β towards a target; all later ones are second-order updates."""

    REFERENCE = "reference"
    SECOND_ORDER = "second_order"


@dataclass(frozen=True)
class Tuning:
    """Settings of Algorithm 1 and of the training inside it.

    Args:
        first_steps: training steps at the first β above 0.
        steps: training steps at each later, warm-started β; none beside the last one, where only
            the acceptance is moved.
        batch_size: draws a step.
        learning_rate: peak of Adam's one-cycle rate.
        anneal: share of the steps over which β moves from the last value to the new one.
        gradient: surrogate learns f from its values first, and the flow follows what was learned;
            it takes a tenth of the evaluations, and needs learned acceptance. reparametrised
            follows ∇f̂ (Eq. 9); score descends the same loss by values of f alone. particles
            climbs to the tilt by a tempered SMC, of `n_learn` particles and none of the
            reference's, and fits the flow to them by maximum likelihood: where the tilt has many
            modes, and a flow that can be inverted in one pass (flow=spline_coupling). auto is
            surrogate; where all draws are accepted it is reparametrised, or score where f has no
            gradient.
        n_learn: draws at each β whose f the surrogate asks for, or particles.
        f_samples: draws of x for each z behind f̂ (Eq. 10); null is 1, or 64 for a stochastic
            decoder.
        average: share of the steps, the last ones, whose weights are averaged into the result.
        min_acceptance_rate: smallest share of draws that learned acceptance may keep; at 1 the
            flow's draws are all kept and nothing is learned, as in the paper.
        n_eval: draws of q̂ that each figure rests on (up to 16 times more where a target's
            tolerance needs them; towards a KL only the KL itself, whose draws ask no f).
        n_reference: draws of p behind the importance-sampling reference.
        n_particles: particles of the tempered SMC that takes over where that fails.
        first_beta: towards one target, begin where the reference has it, which takes one training
            or two; or by the second-order model at p, as the paper does.
        tolerance: relative error at which a target counts as met.
        max_updates: passes of Algorithm 1 before giving up.
        checkpoint_every: steps between training checkpoints.

    Raises:
        SettingError: a value out of range.

    Examples:
        >>> from btgm_cli import Tuning
        >>> paper = Tuning(min_acceptance_rate=1.0)  # the flow alone
        >>> paper.n_eval
        4000
        >>> Tuning(gradient="newton")
        Traceback (most recent call last):
        btgm_cli.core.errors.SettingError: tuning.gradient='newton': choose one of auto, ...
    """

    first_steps: int = 1100
    steps: int = 650
    batch_size: int = 128
    learning_rate: float = 2e-3
    anneal: float = 0.3
    average: float = 0.3
    gradient: Gradient = Gradient.AUTO
    n_learn: int = 6000
    f_samples: int | None = None
    min_acceptance_rate: float = 0.1
    n_eval: int = 4000
    n_reference: int = 20_000
    n_particles: int = 8000
    first_beta: FirstBeta = FirstBeta.REFERENCE
    tolerance: float = 0.01
    max_updates: int = 12
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        if self.gradient not in list(Gradient):
            expected = f"choose one of {', '.join(Gradient)}"
            raise SettingError("tuning.gradient", self.gradient, expected)
        object.__setattr__(self, "gradient", Gradient(self.gradient))
        if self.first_beta not in list(FirstBeta):
            expected = f"choose one of {', '.join(FirstBeta)}"
            raise SettingError("tuning.first_beta", self.first_beta, expected)
        object.__setattr__(self, "first_beta", FirstBeta(self.first_beta))
        for field in fields(self):
            value = getattr(self, field.name)
            if str(field.type).startswith("int") and value is not None and value < 1:
                expected = "must be a whole number, 1 or more"
                raise SettingError(f"tuning.{field.name}", value, expected)
        for name in ("n_learn", "n_eval", "n_reference", "n_particles"):
            if getattr(self, name) < 100:
                raise SettingError(f"tuning.{name}", getattr(self, name), "must be 100 or more")
        for name in ("anneal", "average"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingError(f"tuning.{name}", getattr(self, name), "must be within 0 … 1")
        if not 0 < self.min_acceptance_rate <= 1:
            expected = "must be above 0 and at most 1"
            raise SettingError("tuning.min_acceptance_rate", self.min_acceptance_rate, expected)
        if self.gradient is Gradient.SURROGATE and self.min_acceptance_rate == 1:
            expected = "learns nothing with tuning.min_acceptance_rate=1; choose a smaller rate"
            raise SettingError("tuning.gradient", str(self.gradient), expected)
        for name in ("learning_rate", "tolerance"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingError(f"tuning.{name}", getattr(self, name), "must be positive")
