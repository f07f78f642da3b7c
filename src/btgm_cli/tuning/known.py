"""What is known of f under p before a flow learns: draws of p with their f, paid for once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.truth.references import Estimated
from btgm_cli.tuned.regression import Pairs
from btgm_cli.tuning.fitting import N_PRIOR


@dataclass
class KnownOfPrior:
    """Draws of p with their f, drawn when they are first asked for and charged once.

    Args:
        f: f̂, as a function that remembers what has been paid for.
        generator: makes the one of the draws.
        charged: has an earlier visit been charged for them?
    """

    f: LatentCriterion
    generator: Callable[[], torch.Generator]
    charged: bool = False
    _pairs: Pairs | None = None

    def shared(self, reference: ReferenceSource, n: int) -> tuple[Pairs, int]:
        """The draws that the reference shows, else n of our own, and the evaluations charged."""
        if isinstance(reference, Estimated):
            shown = reference.prior.shown()
            return (shown.z, shown.f), 0
        return self._own(n)

    def apart(self) -> tuple[Pairs, int]:
        """Draws that no reference has, and the evaluations charged."""
        return self._own(N_PRIOR)

    def _own(self, n: int) -> tuple[Pairs, int]:
        if self._pairs is None:
            z = self.f.model.sample_prior(n, self.generator())
            self._pairs = z, evaluate(self.f, z)
        cost, self.charged = 0 if self.charged else n, True
        return self._pairs, cost


def climbed(reference: ReferenceSource) -> Pairs | None:
    """What the reference's SMC has met on its way so far, beside what judges; None without one."""
    if not isinstance(reference, Estimated) or not reference.has_climbed:
        return None
    passed = reference.smc.passed()
    return (passed.z, passed.f.to(passed.z)) if len(passed.f) else None
