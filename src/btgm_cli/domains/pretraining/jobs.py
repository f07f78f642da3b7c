"""From settings to files: train a network, or measure one, against its gates."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Protocol

from btgm_cli.domains.pretraining.card import write_card
from btgm_cli.domains.pretraining.gates import GateReport
from btgm_cli.domains.pretraining.loop import STATE_FILE, run_loop
from btgm_cli.domains.pretraining.pictures import draw_losses
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.domains.pretraining.trainee import Trainee
from btgm_cli.store.checkpoints import StoredNetwork, save_network
from btgm_cli.store.files import require_free_of, require_writable

PICTURES = ("losses.png", "samples.png")


class Job(Protocol):
    """One network with its data: what the `_target_` of `conf/train/model/NAME.yaml` names.

    The data are read when it is made, before any work, so that their faults show early.
    """

    settings_class: ClassVar[type]
    """A dataclass: what shapes the network. The other entries of the YAML are its fields, also one
    that a `# @package _global_` puts at the top. Where it has a `name`, the files take that one.
    """

    def __init__(self, settings: Any, run: RunSettings) -> None: ...

    def load(self, checkpoint: str) -> StoredNetwork:
        """A network of this kind."""
        ...

    def trainee(self) -> Trainee[Any]:
        """One to train, at its start."""
        ...

    def measure(self, network: Any) -> GateReport:
        """Its gates."""
        ...

    def draw(self, network: Any, folder: Path) -> None:
        """Leave pictures worth a look."""
        ...

    def origin(self) -> dict[str, Any]:
        """Checksums of all that it is made from, for the card."""
        ...


def train(kind: type[Job], settings: Any, run: RunSettings, command: str) -> GateReport:
    """Train a network and leave weights, card, loss curve and pictures in `run.folder`.

    Args:
        kind: Which network.
        settings: What shapes it: of `kind.settings_class`.
        run: Where and how.
        command: What a reader types to repeat it, for the card.

    Raises:
        SettingError: A setting of the job, or the saved state of a resumed training, is unusable;
            or another training is in the folder.
        DataError: The data are missing or damaged.
    """
    weights = run.folder / f"{run.name}.safetensors"
    if not run.resume:
        own = (weights.name, weights.with_suffix(".json").name, STATE_FILE, *PICTURES)
        require_free_of(run.folder, own, "go on there with resume=true, ")
    require_writable("out", run.folder)
    job = kind(settings, run)
    trainee = job.trainee()
    record = run_loop(trainee, settings, run)
    network = trainee.network.cpu().eval()
    report = job.measure(network)
    save_network(weights, network)
    write_card(weights, command, asdict(settings), run, record, report, job.origin())
    draw_losses(record.history, run.folder / PICTURES[0])
    job.draw(network, run.folder)
    return report


def evaluate(kind: type[Job], settings: Any, run: RunSettings) -> GateReport:
    """Measure the gates of `run.checkpoint`; the packaged `run.name` where it is None.

    Raises:
        SettingError: The checkpoint, or a setting of the job, is unusable.
        DataError: The data are missing or damaged.
    """
    job = kind(settings, run)
    return job.measure(job.load(run.checkpoint or run.name))
