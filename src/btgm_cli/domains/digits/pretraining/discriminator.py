"""Training of a discriminator of real digits from those of one generator."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus
from torch.nn.utils.parametrizations import spectral_norm

from btgm_cli.core.errors import SettingError
from btgm_cli.domains.digits.discriminator import Discriminator
from btgm_cli.domains.digits.generator import Digits
from btgm_cli.domains.pretraining.gates import SAMPLE_SEED, in_chunks
from btgm_cli.domains.pretraining.penalties import r1_penalty
from btgm_cli.domains.pretraining.settings import require_fraction, require_positive
from btgm_cli.domains.pretraining.trainee import Trainee, seeded

CALIBRATION_SHARE = 12
"""One in so many of the training images is kept from the steps, to find the temperature."""
COLDEST, HOTTEST = 1e-2, 1e2


@dataclass(frozen=True)
class DiscriminatorSettings:
    """What shapes a discriminator.

    Attributes:
        generator: Whose draws it tells from real images: a packaged name or a path.
        steps: Steps of the optimizer.
        batch: Real images, and as many generated ones, to a step.
        rate: Learning rate (AdamW).
        hold: Fraction of the steps before the rate starts to fall to zero.
        weight_decay: Decoupled weight decay.
        average: Decay of the averaged weights.
        channels: Channels of the first convolution.
        hidden: Width of the penultimate layer.
        spectral_norm: Hold every layer's largest singular value to 1 (Spectral Normalization for
            Generative Adversarial Networks, Miyato et al., 2018,
            https://arxiv.org/abs/1802.05957).
        gradient_penalty: Weight of half the mean squared gradient between real and generated
            images (Improving Generalization and Stability of Generative Adversarial Networks,
            Thanh-Tung et al., 2019, https://arxiv.org/abs/1902.03984); 0 is none.
        label_smoothing: Share s of every label that goes to both classes alike (Rethinking the
            Inception Architecture, Szegedy et al., 2016, https://arxiv.org/abs/1512.00567):
            targets are 1 - s/2 and s/2.
        rebuilt: Show it the real images as the VAE rebuilds them, from draws of q(z | x), so that
            both sides have the decoder's look. Its logit is then log q(z) / p(z), of the
            posterior of all images over the prior (A Contrastive Learning Approach for Training
            Variational Autoencoder Priors, Aneja et al., 2021,
            https://arxiv.org/abs/2010.02917). Of a VAE only.
        temperature: What the logit is divided by at the end; None takes the one that images held
            out call for.
    """

    generator: str
    steps: int = 6_000
    batch: int = 64
    rate: float = 1e-3
    hold: float = 0.3
    weight_decay: float = 1e-3
    average: float = 0.998
    channels: int = 16
    hidden: int = 128
    spectral_norm: bool = False
    gradient_penalty: float = 0.0
    label_smoothing: float = 0.0
    rebuilt: bool = False
    temperature: float | None = None

    def __post_init__(self) -> None:
        whole = [name for name, value in asdict(self).items() if type(value) is int]
        given = ["temperature"] * (self.temperature is not None)
        require_positive(self, [*whole, "rate", *given], "model.")
        require_fraction(self, ("hold", "average", "label_smoothing"), "model.")
        if not 0 <= self.gradient_penalty < float("inf"):
            expected = "must be 0 or more, and finite"
            raise SettingError("model.gradient_penalty", self.gradient_penalty, expected)

    @property
    def name(self) -> str:
        """What its files are called: each generator has its own."""
        return f"discriminator_{Path(self.generator).stem}{'_rebuilt' if self.rebuilt else ''}"


class DiscriminatorTrainee(Trainee[Discriminator]):
    """A discriminator in training.

    Args:
        images: Real images (n, 1, 28, 28) in [0, 1].
        generator: Whose draws to tell from them.
        settings: What shapes the discriminator.
        seed: Seed of weights, batches and draws.
        device: Where the networks live; random numbers are drawn on the CPU for any device.
    """

    def __init__(
        self,
        images: Tensor,
        generator: Digits,
        settings: DiscriminatorSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.settings, self.generator = settings, generator.to(device)
        held_out = len(images) // CALIBRATION_SHARE
        self.images, self.held_out = images[held_out:].to(device), images[:held_out].to(device)
        with seeded(seed) as rng:
            self.discriminator = self._plain().to(device)
            if settings.spectral_norm:
                for layer in _layers(self.discriminator):
                    spectral_norm(layer)
        optimizer = torch.optim.AdamW(
            self.discriminator.parameters(),
            settings.rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        super().__init__([self.discriminator], [optimizer], settings, rng)

    @property
    def network(self) -> Discriminator:
        """The averaged weights as those of a plain network, with their temperature."""
        with seeded(0):  # weights to be replaced
            kept = self._plain().to(self.images.device).requires_grad_(False).eval()
        average = self.average.module.eval()
        # Not by removing the parametrizations of a copy: torch would take them from all copies.
        for ours, theirs in zip(_layers(kept), _layers(average), strict=True):
            ours.load_state_dict({"weight": theirs.weight, "bias": theirs.bias})
        chosen = self.settings.temperature
        kept.temperature.fill_(self._fitting_temperature(kept) if chosen is None else chosen)
        return kept

    def descend(self, index: int) -> dict[str, float]:
        """Step on the cross-entropy of as many real images as generated ones."""
        s = self.settings
        chosen = torch.randint(len(self.images), (s.batch,), generator=self.rng)
        real = self.images[chosen.to(self.images.device)]
        fake = self._fakes(s.batch, self.rng)
        labels = torch.cat([torch.ones(s.batch), torch.zeros(s.batch)]).to(real)
        targets = labels * (1 - s.label_smoothing) + s.label_smoothing / 2
        logits = self.discriminator(torch.cat([real, fake]))
        loss = binary_cross_entropy_with_logits(logits, targets)
        price = self._penalty(real, fake) if s.gradient_penalty else torch.zeros(())
        self.optimizers[0].zero_grad()
        (loss + s.gradient_penalty * price).backward()
        self.optimizers[0].step()
        return {"cross-entropy": loss.item()}

    def _plain(self) -> Discriminator:
        s = self.settings
        return Discriminator(s.channels, s.hidden, self.generator.checkpoint_sha256)

    def _fakes(self, n: int, rng: torch.Generator) -> Tensor:
        z = self.generator.sample_prior(n, rng).to(self.images.device)
        return in_chunks(self.generator.decode, z)

    def _penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        u = torch.rand(len(real), 1, 1, 1, generator=self.rng).to(real)
        return r1_penalty(self.discriminator, u * real + (1 - u) * fake)

    def _fitting_temperature(self, network: Discriminator) -> float:
        """That of the least cross-entropy on images, and draws, that no step has seen."""
        rng = torch.Generator().manual_seed(SAMPLE_SEED + 1)
        fake = self._fakes(len(self.held_out), rng)
        signed = torch.cat([in_chunks(network, self.held_out), -in_chunks(network, fake)])
        return fitting_temperature(signed.double().cpu())


def fitting_temperature(signed: Tensor) -> float:
    """The temperature of the least mean cross-entropy, within 0.01 … 100.

    Args:
        signed: Logits (n,) at temperature 1, times 1 where the image is real and -1 elsewhere.
    """

    def loss(log_temperature: float) -> float:
        return float(softplus(-signed / np.exp(log_temperature)).mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def _layers(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """Its layers that have weights."""
    return [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
