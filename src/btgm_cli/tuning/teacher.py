"""Particles of the tilt that a flow learns from as from data, by maximum likelihood.

KL(q̂‖q_β) lets go of modes that q̂ does not visit, and no draw of q̂ tells of them. A tempered SMC
has gone there from p, and the likelihood of its particles, which is −KL(q_β‖q̂) but for a constant,
asks q̂ to be wherever they are (the lecture's J_ML, on draws of the tilt). The SMC is not the
reference's: what judges q̂ shares nothing with what taught it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import torch

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.truth.references import latent_smc
from btgm_cli.truth.smc import POPULATIONS, TemperedSMC
from btgm_cli.tuned.mixture import Mixture
from btgm_cli.tuning.training import MOST_SEEN, Training


class Teacher:
    """A tempered SMC that climbs as far as it is asked, and is begun when it first is.

    Args:
        f: the latent criterion f̂, with its model.
        n: particles.
        generator: one for each purpose.
    """

    def __init__(
        self, f: LatentCriterion, n: int, generator: Callable[..., torch.Generator]
    ) -> None:
        self._f, self._n, self._generator = f, n, generator
        self._told = 0

    @cached_property
    def _smc(self) -> TemperedSMC:
        # Of many particles moves led by a learned s take minutes, even in few dimensions.
        each = math.ceil(self._n / POPULATIONS)
        return latent_smc(self._f, self._generator("teacher"), each, wide=1)

    def reach(self, beta: float) -> int:
        """Climb to β; returns the evaluations of f since this was asked last."""
        if not self._smc.unusable:
            self._smc.at(beta)
        since, self._told = self._smc.f_evals - self._told, self._smc.f_evals
        return since

    def teach(self, training: Training, index: int) -> int:
        """Give a training particles of its tilt; returns evaluations of f.

        Where f̂ is no number for some draws of p, `training.finite` is False and nothing climbed.
        """
        beta = training.schedule.beta
        evals, training.finite = self.reach(beta), not self._smc.unusable
        if training.finite:
            found = self._smc.particles(beta, self._n, self._generator("particles", index))
            training.data = found.z, found.f.to(found.z)
        return evals

    def examine(self, training: Training, index: int) -> int:
        """Tell the training f of its particles, and of as many draws of the flow that it left.

        What the flow has put between modes no particle shows. Where f is not cheap, what the climb
        asked for and left again is told first, the last of it; it has been paid for. Returns
        evaluations of f.
        """
        mixture = Mixture(self._f.model, training.flow)
        if not self._smc.gradients:
            met, room = self._smc.passed(), max(MOST_SEEN - 2 * self._n, 0)
            last = slice(max(len(met.f) - room, 0), None)
            training.seen.add(met.z[last], met.f[last])
        z, _ = mixture.flow_draws(self._n, self._generator("examined", index))
        if training.data is not None:
            training.seen.add(*training.data)
        training.seen.add(z, evaluate(self._f, z))
        return len(z)
