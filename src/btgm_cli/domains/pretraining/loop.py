"""The loop that every training shares: progress, periodic states, resuming to the bit."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from btgm_cli.core.errors import SettingError
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.store.checkpoints import StoredNetwork, read_torch_file, save_network
from btgm_cli.store.files import replacing

STATE_FILE = "training_state.pt"
RECORD_EVERY = 50


class Trainee(Protocol):
    """Something in training: one step at a time, with a state that can be saved and set."""

    @property
    def network(self) -> StoredNetwork:
        """The network to keep: the averaged weights."""
        ...

    def step(self, index: int) -> dict[str, float]:
        """Take step `index` (from 0); returns its losses."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on: weights, optimizers, random state."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned."""
        ...


@dataclass
class Progress:
    """How far a training is, over all its sittings.

    Attributes:
        step: Steps taken.
        seconds: Time in them.
        history: The mean losses of every `RECORD_EVERY` steps, with the step that ends them.
        pending: The same for the steps since then, as far as it has come.
    """

    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    pending: dict[str, float] = field(default_factory=dict)

    def record(self, losses: dict[str, float]) -> None:
        """Count one step and its losses."""
        self.step += 1
        for key, value in losses.items():
            self.pending[key] = self.pending.get(key, 0.0) + value / RECORD_EVERY
        if self.step % RECORD_EVERY == 0:
            self.history.append({"step": float(self.step), **self.pending})
            self.pending = {}


def run_loop(trainee: Trainee, steps: int, run: RunSettings, settings: dict[str, Any]) -> Progress:
    """Train to `steps`, saving state and weights to `run.folder` every `run.save_every` steps.

    Args:
        trainee: What to train.
        steps: Steps in all, those of an earlier sitting included.
        run: Where and how.
        settings: What shapes the numbers: a resumed training must have the same.

    Raises:
        SettingError: `resume` without a saved state, or with one of other settings.
    """
    state_file = run.folder / STATE_FILE
    progress = _restore(trainee, state_file, settings) if run.resume else Progress()
    with tqdm(total=steps, initial=progress.step, desc=run.name, unit="step") as bar:
        for index in range(progress.step, steps):
            begun = time.perf_counter()
            losses = trainee.step(index)
            progress.seconds += time.perf_counter() - begun
            progress.record(losses)
            bar.update()
            if progress.step % RECORD_EVERY == 0:
                bar.set_postfix({key: f"{value:.3f}" for key, value in losses.items()})
            if progress.step % run.save_every == 0 or progress.step == steps:
                _save(trainee, progress, run, settings)
    return progress


def _save(
    trainee: Trainee, progress: Progress, run: RunSettings, settings: dict[str, Any]
) -> None:
    """One file holds the whole state, so that a kill cannot part weights from optimizer."""
    state = {"trainee": trainee.state_dict(), "progress": asdict(progress), "settings": settings}
    with replacing(run.folder / STATE_FILE) as temporary:
        torch.save(state, temporary)
    save_network(run.folder / f"{run.name}.safetensors", trainee.network)


def _restore(trainee: Trainee, path: Path, settings: dict[str, Any]) -> Progress:
    if not path.is_file():
        raise SettingError("resume", True, f"{path} not found; train without resume first")
    try:
        state = read_torch_file(path)
    except ValueError as error:
        raise SettingError("resume", True, f"{path} cannot be read; train anew") from error
    for key in _differing(settings, state["settings"]):
        reason = f"this training began with {state['settings'].get(key)!r}; keep it, or train anew"
        raise SettingError(key, settings.get(key), reason)
    trainee.load_state_dict(state["trainee"])
    return Progress(**state["progress"])


def _differing(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterable[str]:
    return (key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key))
