"""`model=tuned`: an earlier run's tuned model as the p of a new one."""

from __future__ import annotations

from btgm_cli.cli.loading import load_run
from btgm_cli.core.errors import SettingError
from btgm_cli.tuned.pushed import Pushed, pushed


def tuned_model(run: str, beta: float | None = None) -> Pushed:
    """The flow of an earlier run in front of its model; see `tuned.pushed`.

    Args:
        run: directory that `btgm run` left.
        beta: one of its β; None is the last.

    Raises:
        SettingError: there is no run, or none with this β.
        DataError: a file of it is damaged.
    """
    try:
        earlier = load_run(run)
    except SettingError as error:
        if error.setting != "run directory":
            raise
        raise SettingError("model.run", run, "is no run directory with a finished β") from error
    tuned = earlier.tuned(beta)
    return pushed(tuned.model, tuned.flow)
