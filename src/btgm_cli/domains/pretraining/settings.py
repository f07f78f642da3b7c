"""Settings that every training shares, checked before any work starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from btgm_cli.core.devices import pick_device
from btgm_cli.core.errors import SettingError


@dataclass(frozen=True)
class RunSettings:
    """Where and how to run one training.

    Attributes:
        name: Name of the network, which its files take.
        seed: Seed of weights, batches and noise.
        data_dir: Folder that holds the data sets, a folder each; None asks the environment, then
            the user's cache.
        device: `auto` takes a GPU where there is one.
        threads: CPU threads; None leaves the choice to torch. Sums in another order round
            differently, so the same numbers to the bit need the same threads.
        out: Folder of everything that the training writes; None is `outputs/train/<name>`.
        resume: Go on from the last state saved in `out`.
        save_every: Steps between two saved states.
        evaluate_only: Train nothing; measure the gates of `checkpoint`.
        checkpoint: What to measure: a packaged name or a path; None is the packaged `name`.
    """

    name: str
    seed: int = 0
    data_dir: str | None = None
    device: str = "auto"
    threads: int | None = None
    out: str | None = None
    resume: bool = False
    save_every: int = 500
    evaluate_only: bool = False
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        pick_device(self.device)
        if self.seed < 0:
            raise SettingError("seed", self.seed, "must be 0 or more")
        for name in ("out", "data_dir", "checkpoint"):
            if getattr(self, name) == "":
                raise SettingError(name, "", "must be a path, or left out")
        if self.checkpoint is not None and not self.evaluate_only:
            expected = "is what evaluate_only=true measures; a training starts from nothing"
            raise SettingError("checkpoint", self.checkpoint, expected)
        require_positive(self, ["save_every"] + ["threads"] * (self.threads is not None))

    @property
    def folder(self) -> Path:
        """The folder that `out` stands for."""
        return Path(self.out) if self.out else Path("outputs/train") / self.name

    @property
    def torch_device(self) -> torch.device:
        """The device that `device` stands for."""
        return pick_device(self.device)


def require_positive(settings: object, names: Sequence[str], prefix: str = "") -> None:
    """Raise a SettingError naming the first attribute of `settings` that is not above zero."""
    for name in names:
        value = getattr(settings, name)
        if not value > 0:
            raise SettingError(prefix + name, value, "must be positive")


def require_fraction(settings: object, names: Sequence[str], prefix: str = "") -> None:
    """Raise a SettingError naming the first attribute of `settings` that is not in [0, 1)."""
    for name in names:
        value = getattr(settings, name)
        if not 0 <= value < 1:
            raise SettingError(prefix + name, value, "must be at least 0 and below 1")


def require_choice(setting: str, value: str, choices: Sequence[str]) -> None:
    """Raise a SettingError with the choices if `value` is not among them."""
    if value not in choices:
        raise SettingError(setting, value, f"choose one of {', '.join(choices)}")
