"""What a GAN's two networks minimize: Wasserstein with a gradient penalty, or non-saturating.

Scores are a critic's outputs, shape (n,); the images are (n, *X).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from btgm_cli.domains.pretraining.penalties import Critic, gradient_penalty, r1_penalty

WGAN_GP = "wgan_gp"
NS_R1 = "ns_r1"
OBJECTIVES = (WGAN_GP, NS_R1)


def critic_loss(objective: str, real: Tensor, fake: Tensor) -> Tensor:
    """The critic's loss without its penalty, a scalar, from the scores of real and fake images.

    `wgan_gp`: E D(fake) - E D(real) (Improved Training of Wasserstein GANs, Gulrajani et al.,
    2017, https://arxiv.org/abs/1704.00028). `ns_r1`: the logistic loss (Generative Adversarial
    Nets, Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661).
    """
    if objective == WGAN_GP:
        return fake.mean() - real.mean()
    return softplus(-real).mean() + softplus(fake).mean()


def generator_loss(objective: str, fake: Tensor) -> Tensor:
    """The generator's loss, a scalar, from the scores of its images.

    `wgan_gp`: -E D(fake). `ns_r1`: E -log sigmoid(D(fake)), which does not saturate.
    """
    return -fake.mean() if objective == WGAN_GP else softplus(-fake).mean()


def penalty(
    objective: str, critic: Critic, real: Tensor, fake: Tensor, rng: torch.Generator
) -> Tensor:
    """The penalty that belongs to the objective, a scalar, to be scaled by its weight."""
    if objective == WGAN_GP:
        return gradient_penalty(critic, real, fake, rng)
    return r1_penalty(critic, real)
