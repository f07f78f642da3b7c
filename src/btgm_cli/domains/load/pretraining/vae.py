"""Training of the VAE of weekly load curves."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from btgm_cli.domains.load.network import VaeNetwork
from btgm_cli.domains.load.weekly import Aggregates, WeeklyLoad
from btgm_cli.domains.pretraining.settings import require_fraction, require_positive
from btgm_cli.domains.pretraining.trainee import Trainee, seeded

SCALE_DRAWS = 4096
CLIP = 20.0


@dataclass(frozen=True)
class VaeSettings:
    """What shapes a VAE of weekly load curves.

    Attributes:
        households: How many are summed in a curve.
        steps: Steps of the optimizer.
        batch: Curves to a step, drawn anew each time.
        rate: Learning rate (AdamW).
        weight_decay: Decoupled weight decay.
        hold: Fraction of the steps before the rate starts to fall to zero.
        warmup: Fraction of the steps in which the weight of the KL rises from 0 to 1.
        average: Decay of the averaged weights.
        latent_dim: Dimension of the prior N(0, I).
        channels: Channels of the decoder's maps.
        encoder_channels: Channels of the encoder's maps.
        couplings: Couplings between N(0, I) and the decoder.
        hidden: Width of their hidden layer.
    """

    households: int = 10
    steps: int = 2_000
    batch: int = 128
    rate: float = 2e-3
    weight_decay: float = 0.1
    hold: float = 0.3
    warmup: float = 0.1
    average: float = 0.995
    latent_dim: int = 12
    channels: int = 32
    encoder_channels: int = 32
    couplings: int = 4
    hidden: int = 64

    def __post_init__(self) -> None:
        require_fraction(self, ("hold", "warmup", "average"), "model.")
        whole = [name for name, value in asdict(self).items() if isinstance(value, int)]
        require_positive(self, [*whole, "rate", "weight_decay"], "model.")


class VaeTrainee(Trainee[VaeNetwork]):
    """A VAE in training.

    Args:
        load: Weeks of single households to train on.
        settings: What shapes the VAE.
        seed: Seed of weights, curves and noise.
        device: Where the network lives; random numbers are drawn on the CPU for any device.
    """

    def __init__(
        self, load: WeeklyLoad, settings: VaeSettings, seed: int, device: torch.device
    ) -> None:
        self.aggregates = Aggregates(load, settings.households)
        self.settings = settings
        self.device = device
        with seeded(seed) as rng:
            self.vae = VaeNetwork(
                load.points,
                settings.latent_dim,
                settings.channels,
                settings.encoder_channels,
                settings.couplings,
                settings.hidden,
            )
        drawn = self.aggregates.draw(SCALE_DRAWS, rng)
        self.vae.set_scale(drawn, self.aggregates.largest_kw())
        self.vae.to(device)
        self.optimizer = torch.optim.AdamW(
            self.vae.parameters(), settings.rate, weight_decay=settings.weight_decay, fused=True
        )
        super().__init__([self.vae], [self.optimizer], settings, rng)

    def descend(self, index: int) -> dict[str, float]:
        """Step on the negative ELBO of one batch, its KL weighted by the warm-up."""
        s = self.settings
        x = self.aggregates.draw(s.batch, self.rng).to(self.device)
        noise = torch.randn(s.batch, s.latent_dim, generator=self.rng).to(self.device)
        log_prob, kl = (term.mean() for term in self.vae.bound(x, noise))
        self.optimizer.zero_grad()
        (self._kl_weight(index) * kl - log_prob).backward()
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), CLIP)
        self.optimizer.step()
        return {"negative ELBO": (kl - log_prob).item(), "KL": kl.item()}

    def _kl_weight(self, index: int) -> float:
        rise = self.settings.warmup * self.settings.steps
        return min(1.0, (index + 1) / rise) if rise else 1.0
