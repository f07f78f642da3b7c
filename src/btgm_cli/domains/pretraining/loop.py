"""The loop that every training shares: a record, periodic states, resuming to the bit."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from btgm_cli.core.errors import SettingError
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.domains.pretraining.trainee import Trainee
from btgm_cli.store.checkpoints import read_torch_file, save_network
from btgm_cli.store.files import write_bytes

STATE_FILE = "training_state.pt"
RECORD_EVERY = 50


@dataclass
class Record:
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

    def add(self, losses: dict[str, float]) -> None:
        """Count one step and its losses."""
        self.step += 1
        for key, value in losses.items():
            self.pending[key] = self.pending.get(key, 0.0) + value / RECORD_EVERY
        if self.step % RECORD_EVERY == 0:
            self.history.append({"step": float(self.step), **self.pending})
            self.pending = {}


def run_loop(trainee: Trainee[Any], settings: Any, run: RunSettings) -> Record:
    """Train, saving state and weights to `run.folder` every `run.save_every` steps.

    Args:
        trainee: What to train.
        settings: What shapes the numbers, `steps` among them, those of an earlier sitting
            included: a dataclass. A resumed training must have the same.
        run: Where and how.

    Raises:
        SettingError: `resume` without a saved state, or with one of other settings.
    """
    shaping = {**asdict(settings), "seed": run.seed}
    record = _restore(trainee, run.folder / STATE_FILE, shaping) if run.resume else Record()
    with tqdm(total=settings.steps, initial=record.step, desc=run.name, unit="step") as bar:
        for index in range(record.step, settings.steps):
            begun = time.perf_counter()
            losses = trainee.step(index)
            record.seconds += time.perf_counter() - begun
            record.add(losses)
            bar.update()
            if record.step % RECORD_EVERY == 0:
                bar.set_postfix({key: f"{value:.3f}" for key, value in losses.items()})
            if record.step % run.save_every == 0 or record.step == settings.steps:
                _save(trainee, record, run, shaping)
    return record


def _save(
    trainee: Trainee[Any], record: Record, run: RunSettings, settings: dict[str, Any]
) -> None:
    """One file holds the whole state, so that a kill cannot part weights from optimizer."""
    state = {"trainee": trainee.state_dict(), "record": asdict(record), "settings": settings}
    held = io.BytesIO()  # torch does not tell why a disk took no more
    torch.save(state, held)
    write_bytes(run.folder / STATE_FILE, held.getvalue())
    save_network(run.folder / f"{run.name}.safetensors", trainee.network)


def _restore(trainee: Trainee[Any], path: Path, settings: dict[str, Any]) -> Record:
    if not path.is_file():
        raise SettingError("resume", True, f"{path} not found; train without resume first")
    try:
        state = read_torch_file(path)
    except ValueError as error:
        raise SettingError("resume", True, f"{path} cannot be read; train anew") from error
    for key in _differing(settings, state["settings"]):
        reason = f"this training began with {state['settings'].get(key)!r}; keep it, or train anew"
        raise SettingError(key, settings.get(key), reason)
    try:
        trainee.load_state_dict(state["trainee"])
        return Record(**state["record"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = f"{path} is the state of another version; train anew"
        raise SettingError("resume", True, reason) from error


def _differing(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterable[str]:
    return (key for key in sorted(ours.keys() | theirs.keys()) if ours.get(key) != theirs.get(key))
