"""From settings to files: train a network, or measure one, against its gates."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor

from btgm_cli.checkpoints import StoredNetwork, checkpoint_hash, load_network, save_network
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
    in_chunks,
)
from btgm_cli.training.gan import GanSettings, train_gan
from btgm_cli.training.loop import Progress
from btgm_cli.training.pictures import draw_grid, draw_losses
from btgm_cli.training.settings import RunSettings

Settings = GanSettings | ClassifierSettings

GRID = 160


def train(settings: Settings, run: RunSettings, command: str) -> Evaluation:
    """Train a network and leave weights, card, loss curve and sample grid in `run.folder`.

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
    judge_hash = checkpoint_hash(run.classifier, "classifier") if judge else None
    write_card(weights, command, asdict(settings), run, progress, evaluation, judge_hash)
    draw_losses(progress.history, run.folder / "losses.png")
    draw_grid(_examples(network, data), run.folder / "samples.png")
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


def _examples(network: StoredNetwork, data: Mnist) -> Tensor:
    """Pictures worth a look: a generator's samples, or the test digits a classifier finds hard."""
    if isinstance(network, Generator):
        rng = torch.Generator().manual_seed(SAMPLE_SEED)
        return in_chunks(network, torch.randn(GRID, network.latent_dim, generator=rng))
    log_probabilities = in_chunks(network, data.test_images).log_softmax(1)
    of_label = log_probabilities.gather(1, data.test_labels[:, None]).squeeze(1)
    return data.test_images[of_label.argsort()[:GRID]]
