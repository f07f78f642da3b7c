"""The trainings of the digits' networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from btgm_cli.domains.digits.classifier import Classifier
from btgm_cli.domains.digits.discriminator import Discriminator, require_same_generator
from btgm_cli.domains.digits.generator import Generator
from btgm_cli.domains.digits.mnist import MNIST_FILES, Mnist, load_mnist
from btgm_cli.domains.digits.pretraining.classifier import ClassifierSettings, ClassifierTrainee
from btgm_cli.domains.digits.pretraining.discriminator import (
    DiscriminatorSettings,
    DiscriminatorTrainee,
)
from btgm_cli.domains.digits.pretraining.gan import GanSettings, GanTrainee
from btgm_cli.domains.digits.pretraining.gates import (
    SAMPLES,
    evaluate_classifier,
    evaluate_discriminator,
    evaluate_generator,
    evaluate_vae,
    prior_images,
)
from btgm_cli.domains.digits.pretraining.pictures import draw_grid
from btgm_cli.domains.digits.pretraining.vae import VaeSettings, VaeTrainee
from btgm_cli.domains.digits.vae import VaeNetwork, load_digits
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


class _JudgedJob:
    """A generator of digits, and the classifier that judges it."""

    def __init__(self, settings: Any, run: RunSettings) -> None:
        self.settings, self.run = settings, run
        self.judge = load_network(Classifier, settings.classifier, "model.classifier")
        self.data = load_mnist(run.data_dir)

    def origin(self) -> dict[str, Any]:
        """The checksums of MNIST and of the judge."""
        judge = checkpoint_hash(self.settings.classifier, "model.classifier")
        return {**_mnist_origin(), "judge_sha256": judge}


class GanJob(_JudgedJob):
    """The digits' GAN."""

    settings_class: ClassVar[type] = GanSettings

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
        draw_grid(prior_images(network, GRID), folder / "samples.png")


class VaeJob(_JudgedJob):
    """The digits' VAE."""

    settings_class: ClassVar[type] = VaeSettings

    def load(self, checkpoint: str) -> VaeNetwork:
        """The VAE of a checkpoint."""
        return load_network(VaeNetwork, checkpoint)

    def trainee(self) -> VaeTrainee:
        """A VAE, to be trained on the training images."""
        images = self.data.train_images
        return VaeTrainee(images, self.settings, self.run.seed, self.run.torch_device)

    def measure(self, network: VaeNetwork) -> GateReport:
        """ELBO and reconstruction of the test images; what a GAN's gates would say of it."""
        return evaluate_vae(network, self.judge, self.data)

    def draw(self, network: VaeNetwork, folder: Path) -> None:
        """Draw samples."""
        draw_grid(prior_images(network.decoder, GRID), folder / "samples.png")


class DiscriminatorJob:
    """A discriminator of real digits from those of one generator."""

    settings_class: ClassVar[type] = DiscriminatorSettings

    def __init__(self, settings: DiscriminatorSettings, run: RunSettings) -> None:
        self.settings, self.run = settings, run
        self.generator = load_digits(settings.generator, "generator")
        data = load_mnist(run.data_dir)
        self.data = rebuilt(data, settings.generator) if settings.rebuilt else data

    def load(self, checkpoint: str) -> Discriminator:
        """The discriminator of a checkpoint."""
        network = load_network(Discriminator, checkpoint)
        require_same_generator(network, self.generator, "checkpoint", checkpoint)
        return network

    def trainee(self) -> DiscriminatorTrainee:
        """A discriminator, to be trained on the training images and the generator's."""
        s, run = self.settings, self.run
        return DiscriminatorTrainee(
            self.data.train_images, self.generator, s, run.seed, run.torch_device
        )

    def measure(self, network: Discriminator) -> GateReport:
        """Accuracy and calibration on images and draws held out, and its slopes in z."""
        report = evaluate_discriminator(network, self.generator.cpu(), self.data)
        accuracy, calibration = report.gates
        if self.settings.rebuilt:  # the better the VAE, the less there is to tell apart
            return GateReport([calibration], report.metrics, told=[accuracy])
        return report

    def draw(self, network: Discriminator, folder: Path) -> None:
        """Draw samples, from those that look most generated to those that look most real."""
        images = prior_images(self.generator.generator, SAMPLES)
        ranked = in_chunks(network, images).argsort()
        shown = ranked[torch.linspace(0, len(ranked) - 1, GRID).long()]
        draw_grid(images[shown], folder / "samples.png")

    def origin(self) -> dict[str, Any]:
        """The checksums of MNIST and of the generator."""
        return {**_mnist_origin(), "generator_sha256": self.generator.checkpoint_sha256}


def rebuilt(data: Mnist, checkpoint: str) -> Mnist:
    """The digits as a VAE rebuilds them, each from one draw of q(z | x).

    Raises:
        SettingError: The checkpoint is not one of a VAE of digits.
    """
    network = load_network(VaeNetwork, checkpoint, "generator").eval().requires_grad_(False)
    rng = torch.Generator().manual_seed(SAMPLE_SEED + 2)

    def of(x: Tensor) -> Tensor:
        return network.rebuilt(x, torch.randn(len(x), network.latent_dim, generator=rng))

    train, test = (in_chunks(of, images) for images in (data.train_images, data.test_images))
    return replace(data, train_images=train, test_images=test)


def _mnist_origin() -> dict[str, Any]:
    return {"data_md5_uncompressed": {spec.name: spec.md5 for spec in MNIST_FILES.values()}}
