"""`btgm train model=flow`: a density flow fitted to configurations (J_ML)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.densities.flow import DensityFlow
from btgm_cli.domains.densities.normal import Normal
from btgm_cli.domains.densities.pretraining.configurations import read_configurations
from btgm_cli.domains.densities.pretraining.pictures import draw_configurations
from btgm_cli.domains.pretraining.gates import SAMPLE_SEED, Gate, GateReport, in_chunks
from btgm_cli.domains.pretraining.settings import RunSettings, require_fraction, require_positive
from btgm_cli.domains.pretraining.trainee import Trainee, seeded
from btgm_cli.store.checkpoints import load_network
from btgm_cli.store.files import file_hash

HELD_OUT = 10
"""One configuration in so many is held out."""

SHOWN = 2000
CLIP = 20.0


@dataclass(frozen=True)
class FlowSettings:
    """What shapes a density flow.

    Attributes:
        data: File of configurations, see `read_configurations`.
        steps: Steps of the optimizer.
        batch: Configurations to a step.
        rate: Learning rate (Adam).
        hold: Fraction of the steps before the rate starts to fall to zero.
        average: Decay of the averaged weights.
        depth: Coupling layers.
        hidden: Width of the layers of their networks.
        bins: Segments of each spline.
        bound: Splines act on [−bound, bound] of the scaled coordinates.
    """

    data: str
    steps: int = 2_000
    batch: int = 256
    rate: float = 2e-3
    hold: float = 0.3
    average: float = 0.99
    depth: int = 4
    hidden: int = 64
    bins: int = 16
    bound: int = 5

    def __post_init__(self) -> None:
        require_fraction(self, ("hold", "average"), "model.")
        whole = [name for name, value in asdict(self).items() if isinstance(value, int)]
        require_positive(self, [*whole, "rate"], "model.")


class FlowJob:
    """A density flow, fitted to configurations."""

    settings_class: ClassVar[type] = FlowSettings

    def __init__(self, settings: FlowSettings, run: RunSettings) -> None:
        self.settings, self.run = settings, run
        x = read_configurations(settings.data)
        order = torch.randperm(len(x), generator=derived_generator(run.seed, "held out"))
        count = len(x) // HELD_OUT
        self.held_out, self.training = x[order[:count]], x[order[count:]]

    def load(self, checkpoint: str) -> DensityFlow:
        """The density flow of a checkpoint."""
        return load_network(DensityFlow, checkpoint)

    def trainee(self) -> FlowTrainee:
        """A flow, to be trained on nine tenths of the configurations."""
        return FlowTrainee(self.training, self.settings, self.run.seed, self.run.torch_device)

    def measure(self, network: DensityFlow) -> GateReport:
        """Log-likelihood of the configurations held out, beside that of a normal distribution."""
        held = in_chunks(network.log_prob, self.held_out).mean().item()
        seen = in_chunks(network.log_prob, self.training[: 10 * len(self.held_out)]).mean().item()
        normal = _fitted(self.training).log_prob(self.held_out).mean().item()
        z = torch.randn(1000, network.latent_dim, generator=_generator())
        with torch.no_grad():
            back = (network.encode(network(z))[0] - z).abs().max().item()
        return GateReport(
            [
                Gate("gain over a normal, nats", held - normal, low=-0.05),
                Gate("seen better than held out, nats", seen - held, high=0.2),
                Gate("round trip z → x → z, largest error", back, high=1e-2),
            ],
            {
                "held-out log-likelihood, nats": held,
                "held-out log-likelihood of a normal": normal,
            },
        )

    def draw(self, network: DensityFlow, folder: Path) -> None:
        """Draw configurations beside draws of the flow."""
        z = torch.randn(SHOWN, network.latent_dim, generator=_generator())
        with torch.no_grad():
            draw_configurations(self.held_out[:SHOWN], network(z), folder / "samples.png")

    def origin(self) -> dict[str, Any]:
        """The checksum of the configurations."""
        path = Path(self.settings.data).expanduser()
        return {"data_sha256": {path.name: file_hash(path)}}


class FlowTrainee(Trainee[DensityFlow]):
    """A density flow in training.

    Args:
        x: Configurations, shape (n, D).
        settings: What shapes the flow.
        seed: Of weights and batches.
        device: Where it is trained.
    """

    def __init__(self, x: Tensor, settings: FlowSettings, seed: int, device: torch.device) -> None:
        self.x, self.settings = x.to(device), settings
        with seeded(seed) as rng:
            self.flow = DensityFlow(
                x.shape[1],
                settings.depth,
                settings.hidden,
                settings.bins,
                settings.bound,
                seed,
            )
        self.flow.set_scale(x)
        self.flow.to(device)
        optimizer = torch.optim.Adam(self.flow.parameters(), settings.rate)
        super().__init__([self.flow], [optimizer], settings, rng)

    def descend(self, index: int) -> dict[str, float]:
        """Step on J_ML of one batch, nats."""
        chosen = torch.randint(len(self.x), (self.settings.batch,), generator=self.rng)
        loss = -self.flow.log_prob(self.x[chosen.to(self.x.device)]).mean()
        (optimizer,) = self.optimizers
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.flow.parameters(), CLIP)
        optimizer.step()
        return {"J_ML": loss.item()}


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(SAMPLE_SEED)


def _fitted(x: Tensor) -> Normal:
    """The normal distribution with mean and covariance of x (n, D)."""
    return Normal(x.shape[1], x.mean(0).tolist(), covariance=torch.cov(x.double().T).tolist())
