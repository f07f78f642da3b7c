"""The trainings of the digits' networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from btgm_cli.domains.digits.classifier import Classifier
from btgm_cli.domains.digits.generator import Generator
from btgm_cli.domains.digits.mnist import MNIST_FILES, load_mnist
from btgm_cli.domains.digits.pretraining.classifier import ClassifierSettings, ClassifierTrainee
from btgm_cli.domains.digits.pretraining.gan import GanSettings, GanTrainee
from btgm_cli.domains.digits.pretraining.gates import (
    evaluate_classifier,
    evaluate_generator,
)
from btgm_cli.domains.digits.pretraining.pictures import draw_grid
from btgm_cli.domains.pretraining.gates import SAMPLE_SEED, GateReport, in_chunks
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.store.checkpoints import checkpoint_hash, load_network

GRID = 160


class ClassifierJob:
    """The digits' classifier."""

    settings_class: ClassVar[type] = ClassifierSettings

    def __init__(self, settings: ClassifierSettings, run: RunSettings) -> None:
        self.settings, self.run = settings, run
        self.data = load_mnist(run.data_dir)

    def load(self, checkpoint: str) -> Classifier:
        """The classifier of a checkpoint."""
        return load_network(Classifier, checkpoint)

    def trainee(self) -> ClassifierTrainee:
        """A classifier, to be trained on the training images."""
        images, labels = self.data.train_images, self.data.train_labels
        return ClassifierTrainee(
            images, labels, self.settings, self.run.seed, self.run.torch_device
        )

    def measure(self, network: Classifier) -> GateReport:
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

    settings_class: ClassVar[type] = GanSettings

    def __init__(self, settings: GanSettings, run: RunSettings) -> None:
        self.settings, self.run = settings, run
        self.judge = load_network(Classifier, settings.classifier, "model.classifier")
        self.data = load_mnist(run.data_dir)

    def load(self, checkpoint: str) -> Generator:
        """The generator of a checkpoint."""
        return load_network(Generator, checkpoint)

    def trainee(self) -> GanTrainee:
        """A generator, to be trained on the training images."""
        images = self.data.train_images
        return GanTrainee(images, self.settings, self.run.seed, self.run.torch_device)

    def measure(self, network: Generator) -> GateReport:
        """Class balance, confidence and Fréchet distance."""
        return evaluate_generator(network, self.judge, self.data)

    def draw(self, network: Generator, folder: Path) -> None:
        """Draw samples."""
        rng = torch.Generator().manual_seed(SAMPLE_SEED)
        z = torch.randn(GRID, network.latent_dim, generator=rng)
        draw_grid(in_chunks(network, z), folder / "samples.png")

    def origin(self) -> dict[str, Any]:
        """The checksums of MNIST and of the judge."""
        judge = checkpoint_hash(self.settings.classifier, "model.classifier")
        return {**_mnist_origin(), "judge_sha256": judge}


def _mnist_origin() -> dict[str, Any]:
    return {"data_md5_uncompressed": {spec.name: spec.md5 for spec in MNIST_FILES.values()}}
