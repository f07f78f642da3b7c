"""What is to be tuned, checked once, before any work."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from btgm_cli.core.contracts import Criterion, GenerativeModel
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.truth.verdict import Thresholds
from btgm_cli.tuned.flows import Flow, InverseAutoregressive
from btgm_cli.tuning.checks import (
    check_model,
    check_pair,
    check_sizes,
    check_target,
    chosen_gradient,
    fitting,
)
from btgm_cli.tuning.settings import Tuning


@dataclass(frozen=True)
class Problem:
    """A model, a criterion and a target that fit each other; `checked` makes one.

    Args:
        f: the latent criterion f̂, with its model.
        flow: untrained, on the device.
        target: what to meet.
        settings: of the training and evaluation; how the flow learns from f is settled.
        thresholds: of the verdict.
        seed: of everything random.
        device: where the draws are made.
        has_gradient: has f̂ one to follow?
    """

    f: LatentCriterion
    flow: Flow
    target: Target
    settings: Tuning
    thresholds: Thresholds
    seed: int
    device: torch.device
    has_gradient: bool

    @classmethod
    def checked(
        cls,
        model: GenerativeModel,
        criterion: Criterion,
        *,
        target: Target | None = None,
        flow: Flow | None = None,
        settings: Tuning | None = None,
        thresholds: Thresholds | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> Problem:
        """Try the pair on a few draws; the arguments are those of `tune`.

        Raises:
            SettingError: the model, the criterion or a setting cannot be used.
        """
        target, settings = target or Target(), settings or Tuning()
        check_target(target, criterion)
        check_model(model, seed, device)
        f = fitting(model, criterion, f_samples=settings.f_samples, seed=seed, device=device)
        check_sizes(f, settings, device)
        has_gradient = check_pair(f, derived_generator(seed, "check", device=device))
        gradient = chosen_gradient(settings, has_gradient, f.criterion)
        return cls(
            f=f,
            flow=(flow or InverseAutoregressive(model.latent_dim, seed=seed)).to(device),
            target=target,
            settings=replace(settings, gradient=gradient, f_samples=f.f_samples),
            thresholds=thresholds or Thresholds(),
            seed=seed,
            device=torch.device(device),
            has_gradient=has_gradient,
        )
