"""What a training tells as it goes, and where it keeps its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from btgm_cli.core.results import Journal, Progress
from btgm_cli.tuning.training import Schedule


@dataclass(frozen=True)
class Watched:
    """Trainings that are told of, and kept.

    Args:
        passes: that are planned, if that is known.
        journal: keeps checkpoints; None keeps none.
        observe: told the progress of each step; None is told nothing.
    """

    passes: int | None
    journal: Journal | None
    observe: Callable[[Progress], None] | None

    def checkpoint(self, index: int) -> dict[str, Any] | None:
        """Where an interrupted training of this point stood."""
        return self.journal.training_state(index) if self.journal else None

    def observers(
        self, index: int, schedule: Schedule
    ) -> tuple[Callable[[int, float, float], None], Callable[[dict[str, Any]], None]]:
        """`on_step` and `save` of the training of this point."""

        def on_step(step: int, kl: float, mean: float) -> None:
            if self.observe:
                told = Progress(index, schedule.beta, step, schedule.steps, kl, mean, self.passes)
                self.observe(told)

        def save(state: dict[str, Any]) -> None:
            if self.journal:
                self.journal.save_training_state(index, state)

        return on_step, save
