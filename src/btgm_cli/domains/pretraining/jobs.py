"""From settings to files: train a network, or measure one, against its gates."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from btgm_cli.domains.digits.training.classifier import ClassifierSettings
from btgm_cli.domains.digits.training.gan import GanSettings
from btgm_cli.domains.digits.training.jobs import ClassifierJob, GanJob
from btgm_cli.domains.load.training.jobs import VaeJob
from btgm_cli.domains.load.training.vae import VaeSettings
from btgm_cli.domains.pretraining.card import write_card
from btgm_cli.domains.pretraining.gates import Evaluation
from btgm_cli.domains.pretraining.loop import Progress
from btgm_cli.domains.pretraining.pictures import draw_losses
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.store.checkpoints import StoredNetwork, save_network

Settings = GanSettings | ClassifierSettings | VaeSettings


class Job(Protocol):
    """One network with its data, read before any work so that their faults show early."""

    def load(self, checkpoint: str) -> StoredNetwork:
        """A network of this kind."""
        ...

    def train(self) -> tuple[StoredNetwork, Progress]:
        """Train one; how it went."""
        ...

    def measure(self, network: Any) -> Evaluation:
        """Its gates."""
        ...

    def draw(self, network: Any, folder: Path) -> None:
        """Leave pictures worth a look."""
        ...

    def origin(self) -> dict[str, Any]:
        """Checksums of all that it is made from, for the card."""
        ...


def train(settings: Settings, run: RunSettings, command: str) -> Evaluation:
    """Train a network and leave weights, card, loss curve and pictures in `run.folder`.

    Args:
        settings: What shapes the network; their class says which kind it is.
        run: Where and how.
        command: What a reader types to repeat it, for the card.

    Raises:
        SettingError: The judging classifier or the saved state of a resumed training is unusable.
        DataError: The data are missing or damaged.
    """
    job = _job(settings, run)
    network, progress = job.train()
    network = network.cpu().eval()
    evaluation = job.measure(network)
    weights = run.folder / f"{run.name}.safetensors"
    save_network(weights, network)
    write_card(weights, command, asdict(settings), run, progress, evaluation, job.origin())
    draw_losses(progress.history, run.folder / "losses.png")
    job.draw(network, run.folder)
    return evaluation


def evaluate(settings: Settings, run: RunSettings) -> Evaluation:
    """Measure the gates of `run.checkpoint`; the packaged `run.name` where it is None.

    Raises:
        SettingError: The checkpoint or the judging classifier is unusable.
        DataError: The data are missing or damaged.
    """
    job = _job(settings, run)
    return job.measure(job.load(run.checkpoint or run.name))


def _job(settings: Settings, run: RunSettings) -> Job:
    if isinstance(settings, GanSettings):
        return GanJob(settings, run)
    if isinstance(settings, ClassifierSettings):
        return ClassifierJob(settings, run)
    return VaeJob(settings, run)
