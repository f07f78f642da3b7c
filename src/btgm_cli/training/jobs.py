"""From settings to files: train a network, or measure one, against its gates."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch

from btgm_cli.checkpoints import StoredNetwork, checkpoint_hash, load_network, save_network
from btgm_cli.classifiers import Classifier
from btgm_cli.data import MNIST_FILES, load_mnist
from btgm_cli.models.gan import Generator
from btgm_cli.models.vae_network import VaeNetwork
from btgm_cli.training.card import write_card
from btgm_cli.training.classifier import ClassifierSettings, train_classifier
from btgm_cli.training.evaluate import (
    SAMPLE_SEED,
    Evaluation,
    evaluate_classifier,
    evaluate_generator,
    in_chunks,
)
from btgm_cli.training.gan import GanSettings, train_gan
from btgm_cli.training.load_gates import evaluate_vae, model_curves, real_curves
from btgm_cli.training.load_pictures import draw_fidelity, draw_weeks
from btgm_cli.training.loop import Progress
from btgm_cli.training.pictures import draw_grid, draw_losses
from btgm_cli.training.settings import RunSettings
from btgm_cli.training.vae import VaeSettings, train_vae
from btgm_cli.weekly_load import Aggregates, load_file, load_weekly, read_attribution

Settings = GanSettings | ClassifierSettings | VaeSettings

GRID = 160


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


class ClassifierJob:
    """The digits' classifier."""

    def __init__(self, settings: ClassifierSettings, run: RunSettings) -> None:
        self.settings, self.run = settings, run
        self.data = load_mnist(run.data_dir)

    def load(self, checkpoint: str) -> Classifier:
        """The classifier of a checkpoint."""
        return load_network(Classifier, checkpoint)

    def train(self) -> tuple[Classifier, Progress]:
        """Train a classifier."""
        return train_classifier(self.settings, self.run, self.data)

    def measure(self, network: Classifier) -> Evaluation:
        """Accuracy and calibration."""
        return evaluate_classifier(network, self.data)

    def draw(self, network: Classifier, folder: Path) -> None:
        """Draw the test digits that it finds hardest."""
        log_probabilities = in_chunks(network, self.data.test_images).log_softmax(1)
        of_label = log_probabilities.gather(1, self.data.test_labels[:, None]).squeeze(1)
        draw_grid(self.data.test_images[of_label.argsort()[:GRID]], folder / "samples.png")

    def origin(self) -> dict[str, Any]:
        """The checksums of MNIST."""
        return _mnist_origin()


class GanJob:
    """The digits' generator, and the classifier that judges it."""

    def __init__(self, settings: GanSettings, run: RunSettings) -> None:
        self.settings, self.run = settings, run
        self.judge = load_network(Classifier, run.classifier, "classifier")
        self.data = load_mnist(run.data_dir)

    def load(self, checkpoint: str) -> Generator:
        """The generator of a checkpoint."""
        return load_network(Generator, checkpoint)

    def train(self) -> tuple[Generator, Progress]:
        """Train a generator."""
        return train_gan(self.settings, self.run, self.data)

    def measure(self, network: Generator) -> Evaluation:
        """Class balance, confidence and Fréchet distance."""
        return evaluate_generator(network, self.judge, self.data)

    def draw(self, network: Generator, folder: Path) -> None:
        """Draw samples."""
        rng = torch.Generator().manual_seed(SAMPLE_SEED)
        z = torch.randn(GRID, network.latent_dim, generator=rng)
        draw_grid(in_chunks(network, z), folder / "samples.png")

    def origin(self) -> dict[str, Any]:
        """The checksums of MNIST and of the judge."""
        judge = checkpoint_hash(self.run.classifier, "classifier")
        return {**_mnist_origin(), "judge_sha256": judge}


class VaeJob:
    """The VAE of weekly load curves."""

    def __init__(self, settings: VaeSettings, run: RunSettings) -> None:
        self.settings, self.run = settings, run
        self.data = load_weekly(run.data_dir)
        for part in (self.data.training(), self.data.held_out()):
            Aggregates(part, settings.households)

    def load(self, checkpoint: str) -> VaeNetwork:
        """The VAE of a checkpoint."""
        return load_network(VaeNetwork, checkpoint)

    def train(self) -> tuple[VaeNetwork, Progress]:
        """Train a VAE."""
        return train_vae(self.settings, self.run, self.data)

    def measure(self, network: VaeNetwork) -> Evaluation:
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


def _mnist_origin() -> dict[str, Any]:
    return {"data_md5_uncompressed": {spec.name: spec.md5 for spec in MNIST_FILES.values()}}
