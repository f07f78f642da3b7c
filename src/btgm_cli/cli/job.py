"""One run as checked objects: all that is left of its configuration once the work starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from btgm_cli.cli.settings import require_least
from btgm_cli.core.contracts import Export, Tracker
from btgm_cli.tuning import Problem


@dataclass(frozen=True)
class RunOptions:
    """Settings of the run itself, beside those of its parts.

    Args:
        seed: of everything random.
        device: auto, cpu or cuda.
        threads: CPU threads; None leaves torch's choice.
        samples: draws kept at each β.

    Raises:
        SettingError: a value out of range.
    """

    seed: int = 0
    device: str = "auto"
    threads: int | None = None
    samples: int = 64

    def __post_init__(self) -> None:
        require_least(self, seed=0, threads=1, samples=0)


@dataclass(frozen=True)
class Names:
    """What the run directory and its pictures call the pair."""

    model: str
    criterion: str


@dataclass(frozen=True)
class Job:
    """A run that is ready to be executed, once: its flow is trained in place.

    Args:
        problem: what to tune.
        names: of the model and the criterion.
        options: of the run itself.
        exports: what else to leave in the run directory, by the names of their settings.
        tracker: where to send the run once it has ended.
        overrides: what was typed, for the command that mends the run.
    """

    problem: Problem
    names: Names
    options: RunOptions
    exports: Mapping[str, Export]
    tracker: Tracker
    overrides: tuple[str, ...]


@contextmanager
def cpu_threads(n: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads for a while; None leaves its choice.

    One job of a sweep must not choose for the next, nor for the last.
    """
    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        if n is not None:
            torch.set_num_threads(before)
