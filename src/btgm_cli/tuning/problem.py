"""What Algorithm 1 is asked for: a model, a criterion and a target that go together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from btgm_cli.core.contracts import Criterion, GenerativeModel
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.truth.verdict import Thresholds
from btgm_cli.tuned.flows import Flow, InverseAutoregressive
from btgm_cli.tuning.checks import check_pair, check_target, chosen_gradient
from btgm_cli.tuning.settings import Tuning


@dataclass(frozen=True)
class Problem:
    """All that `solve` needs, checked once.

    Args:
        f: the latent criterion.
        flow: an untrained flow on the latent space; it is trained in place.
        target: what to meet.
        settings: of the training and evaluation; the gradient is chosen, never `auto`.
        thresholds: of the verdict.
        seed: of everything random.
        device: where the draws are made.
        has_gradient: has f a gradient in z?
    """

    f: LatentCriterion
    flow: Flow
    target: Target
    settings: Tuning
    thresholds: Thresholds
    seed: int
    device: torch.device | str
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
        """Try the model and the criterion on a few draws; arguments as for `tune`.

        Raises:
            SettingError: the model, the criterion or a setting cannot be used.
        """
        target, settings = target or Target(), settings or Tuning()
        check_target(target, criterion)
        f = LatentCriterion(model, criterion, settings.f_samples, seed, device)
        has_gradient = check_pair(f, derived_generator(seed, "check", device=device))
        gradient = chosen_gradient(settings.gradient, has_gradient, criterion)
        settings = replace(settings, gradient=gradient)
        flow = (flow or InverseAutoregressive(model.latent_dim, seed=seed)).to(device)
        thresholds = thresholds or Thresholds()
        return cls(f, flow, target, settings, thresholds, seed, device, has_gradient)
