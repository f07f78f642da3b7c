"""The training of the load VAE."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

from btgm_cli.domains.load.network import VaeNetwork
from btgm_cli.domains.load.pretraining.gates import evaluate_vae, model_curves, real_curves
from btgm_cli.domains.load.pretraining.pictures import draw_fidelity, draw_weeks
from btgm_cli.domains.load.pretraining.vae import VaeSettings, VaeTrainee
from btgm_cli.domains.load.weekly import Aggregates, load_file, load_weekly, read_attribution
from btgm_cli.domains.pretraining.gates import GateReport
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.store.checkpoints import load_network


class VaeJob:
    """The VAE of weekly load curves."""

    settings_class: ClassVar[type] = VaeSettings

    def __init__(self, settings: VaeSettings, run: RunSettings) -> None:
        self.settings, self.run = settings, run
        self.data = load_weekly(run.data_dir)
        for part in (self.data.training(), self.data.held_out()):
            Aggregates(part, settings.households)

    def load(self, checkpoint: str) -> VaeNetwork:
        """The VAE of a checkpoint."""
        return load_network(VaeNetwork, checkpoint)

    def trainee(self) -> VaeTrainee:
        """A VAE, to be trained on aggregates of the training weeks."""
        load = self.data.training()
        return VaeTrainee(load, self.settings, self.run.seed, self.run.torch_device)

    def measure(self, network: VaeNetwork) -> GateReport:
        """Quantiles and profile against the held-out weeks."""
        return evaluate_vae(network, self.data, self.settings.households)

    def draw(self, network: VaeNetwork, folder: Path) -> None:
        """Draw weeks, and what they share with real ones."""
        real = real_curves(self.data, self.settings.households)
        sampled, mean = model_curves(network)
        draw_weeks(real, sampled, mean, folder / "samples.png")
        draw_fidelity(real, sampled, mean, folder / "fidelity.png")

    def origin(self) -> dict[str, Any]:
        """The checksum of the weekly load, and whom to credit for it."""
        path = load_file(self.run.data_dir)
        return {
            "data_sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
            "data_attribution": read_attribution(path),
        }
