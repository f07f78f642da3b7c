"""From settings to files: train a network, or measure one, against its gates."""

from __future__ import annotations

from dataclasses import asdict

import torch

from btgm_cli.checkpoints import StoredNetwork, load_network, save_network
from btgm_cli.classifiers import Classifier
from btgm_cli.data import Mnist, load_mnist
from btgm_cli.models.gan import Generator
from btgm_cli.training.card import write_card
from btgm_cli.training.classifier import ClassifierSettings, train_classifier
from btgm_cli.training.evaluate import (
    SAMPLE_SEED,
    Evaluation,
    evaluate_classifier,
    evaluate_generator,
)
from btgm_cli.training.gan import GanSettings, train_gan
from btgm_cli.training.loop import Progress
from btgm_cli.training.pictures import draw_grid, draw_losses
from btgm_cli.training.settings import RunSettings

Settings = GanSettings | ClassifierSettings

GRID = 160


def train(settings: Settings, run: RunSettings, command: str) -> Evaluation:
    """Train a network and leave weights, card, loss curve and sample picture in `run.folder`.

    Args:
        settings: What shapes the network; their class says which kind it is.
        run: Where and how.
        command: What a reader types to repeat it, for the card.

    Raises:
        SettingError: The judging classifier or the saved state of a resumed training is unusable.
        DataError: MNIST is missing or damaged.
    """
    judge = _judge(settings, run)
    data = load_mnist(run.data_dir)
    network, progress = _train(settings, run, data)
    network = network.cpu().eval()
    evaluation = _measure(network, judge, data)
    weights = run.folder / f"{run.name}.safetensors"
    save_network(weights, network)
    write_card(weights, command, asdict(settings), run, progress, evaluation)
    draw_losses(progress.history, run.folder / "losses.png")
    if isinstance(network, Generator):
        draw_samples(network, run)
    return evaluation


def evaluate(settings: Settings, run: RunSettings) -> Evaluation:
    """Measure the gates of `run.checkpoint`; the packaged `run.name` where it is None.

    Raises:
        SettingError: The checkpoint or the judging classifier is unusable.
        DataError: MNIST is missing or damaged.
    """
    kind = Generator if isinstance(settings, GanSettings) else Classifier
    network: StoredNetwork = load_network(kind, run.checkpoint or run.name)
    return _measure(network, _judge(settings, run), load_mnist(run.data_dir))


def draw_samples(generator: Generator, run: RunSettings) -> None:
    """Draw a grid of samples into `run.folder`, the first of those that the gates judge."""
    rng = torch.Generator().manual_seed(SAMPLE_SEED)
    with torch.no_grad():
        images = generator(torch.randn(GRID, generator.latent_dim, generator=rng))
    draw_grid(images, run.folder / "samples.png")


def _train(settings: Settings, run: RunSettings, data: Mnist) -> tuple[StoredNetwork, Progress]:
    if isinstance(settings, GanSettings):
        return train_gan(settings, run, data)
    return train_classifier(settings, run, data)


def _judge(settings: Settings, run: RunSettings) -> Classifier | None:
    """The classifier that measures a GAN, loaded before the work so that its faults show early."""
    if isinstance(settings, GanSettings):
        return load_network(Classifier, run.classifier, "classifier")
    return None


def _measure(network: StoredNetwork, judge: Classifier | None, data: Mnist) -> Evaluation:
    if isinstance(network, Generator) and judge is not None:
        return evaluate_generator(network, judge, data)
    assert isinstance(network, Classifier)
    return evaluate_classifier(network, data)
