"""The progress bar of a run: β, KL, E f and the time left; a line for each finished β."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType

from tqdm import tqdm

from btgm_cli.core.results import PathPoint, Progress
from btgm_cli.tuning import Problem

log = logging.getLogger(__name__)

HEADER = "       β      E f      ±      KL   exact     gap    ESS   steps    time  verdict"


class ProgressBar:
    """Follows one run; as a context manager it leaves the terminal clean.

    Args:
        title: names the run.
        problem: tells how many steps are planned.
        finished: points of an earlier, interrupted run.
    """

    def __init__(self, title: str, problem: Problem, finished: Sequence[PathPoint]) -> None:
        path = problem.target.path or (0.0, 1.0)
        trained = sum(beta > 0 for beta in path)
        tuning = problem.settings
        self.done, self.each = sum(point.effort.steps for point in finished), tuning.steps
        self.bar = tqdm(
            total=tuning.first_steps * (trained > 0) + tuning.steps * max(trained - 1, 0),
            initial=self.done,
            desc=title,
            unit="step",
            dynamic_ncols=True,
            disable=None,
        )
        tqdm.write(HEADER)
        for point in finished:
            self._leave_out(point)
            tqdm.write(line_of(point))

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.bar.close()

    def advance(self, progress: Progress) -> None:
        """Take in one training step."""
        self.bar.total = max(self.bar.total, self.done + progress.steps)
        text = f"β={progress.beta:.4g} KL={progress.kl:.2f} E f={progress.mean:.3g}"
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(self.done + progress.step - self.bar.n)

    def finish_point(self, point: PathPoint) -> None:
        """Take in a finished β."""
        self.done += point.effort.steps
        self._leave_out(point)
        log.info("%s", line_of(point).strip())
        tqdm.write(line_of(point))

    def _leave_out(self, point: PathPoint) -> None:
        """A tilt beside the last one takes no steps."""
        if point.beta > 0 and not point.effort.steps:
            self.bar.total = max(self.bar.total - self.each, self.done)


def line_of(point: PathPoint) -> str:
    """One finished β as a line under `HEADER`."""
    figures, effort = point.figures, point.effort
    moments, reference = figures.moments, figures.reference
    exact = f"{reference.kl:7.3f}" + (" " if reference.reliable else "?")
    return (
        f"{moments.beta:8.4g} {moments.mean:8.4g} {moments.mean_se:6.2g} {moments.kl:7.3f} {exact}"
        f"{figures.kl_gap:7.3f} {figures.ess_fraction:6.3f} {effort.steps:7d} "
        f"{effort.seconds:6.1f}s  {point.status}"
    )
