"""Training of the VAE of weekly load curves."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch

from btgm_cli.domains.load.network import VaeNetwork
from btgm_cli.domains.load.weekly import Aggregates, WeeklyLoad
from btgm_cli.domains.pretraining.averaging import decayed, set_rate, update_average
from btgm_cli.domains.pretraining.loop import Progress, run_loop
from btgm_cli.domains.pretraining.settings import RunSettings, require_fraction, require_positive

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


class VaeTrainee:
    """The VAE, its average, the optimizer and the one source of randomness.

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
        self.rng = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.vae = VaeNetwork(
                load.points,
                settings.latent_dim,
                settings.channels,
                settings.encoder_channels,
                settings.couplings,
                settings.hidden,
            )
        drawn = self.aggregates.draw(SCALE_DRAWS, self.rng)
        self.vae.set_scale(drawn, self.aggregates.largest_kw())
        self.vae.to(device)
        self.network = copy.deepcopy(self.vae).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.vae.parameters(), settings.rate, weight_decay=settings.weight_decay, fused=True
        )

    def step(self, index: int) -> dict[str, float]:
        """Step on the negative ELBO of one batch, its KL weighted by the warm-up."""
        s = self.settings
        set_rate(self.optimizer, decayed(s.rate, index, s.steps, s.hold))
        x = self.aggregates.draw(s.batch, self.rng).to(self.device)
        noise = torch.randn(s.batch, s.latent_dim, generator=self.rng).to(self.device)
        log_prob, kl = (term.mean() for term in self.vae.bound(x, noise))
        self.optimizer.zero_grad()
        (self._kl_weight(index) * kl - log_prob).backward()
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), CLIP)
        self.optimizer.step()
        update_average(self.network, self.vae, s.average, index)
        return {"negative ELBO": (kl - log_prob).item(), "KL": kl.item()}

    def state_dict(self) -> dict[str, Any]:
        """Weights of both networks, the optimizer, the random state."""
        return {
            "vae": self.vae.state_dict(),
            "average": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned."""
        self.vae.load_state_dict(state["vae"])
        self.network.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rng.set_state(state["rng"])

    def _kl_weight(self, index: int) -> float:
        rise = self.settings.warmup * self.settings.steps
        return min(1.0, (index + 1) / rise) if rise else 1.0


def train_vae(
    settings: VaeSettings, run: RunSettings, load: WeeklyLoad
) -> tuple[VaeNetwork, Progress]:
    """Train a VAE on aggregates of the training weeks; its averaged weights and how it went.

    Raises:
        SettingError: `run.resume` without a state to go on from, or with another one's; or more
            households than a week has.
    """
    trainee = VaeTrainee(load.training(), settings, run.seed, run.torch_device)
    progress = run_loop(trainee, settings.steps, run, {**asdict(settings), "seed": run.seed})
    return trainee.network, progress
