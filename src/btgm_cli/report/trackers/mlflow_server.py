"""`tracker=mlflow`: a run on an MLflow server."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from btgm_cli.core.errors import SettingError
from btgm_cli.report.trackers.tracked import Tracked, require_library, tracked

URI = "MLFLOW_TRACKING_URI"
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""How long to wait for a server that is down: MLflow's own 7 tries and 120 s take minutes."""

IDENTITY = "btgm.directory"
"""A tag that says which directory a run is from, so that one that is gone on with replaces it."""

MOST, LONGEST = 100, 500
"""Settings in one message, and characters of a value."""


@dataclass(frozen=True)
class MlflowServer:
    """A `core.contracts.Tracker`.

    Args:
        uri: of the server; None for that of `MLFLOW_TRACKING_URI`.
        experiment: the name that runs are listed under.
    """

    uri: str | None = None
    experiment: str = "btgm"

    def check(self) -> None:
        """Refuse to begin without the library, or a server to send to.

        Raises:
            SettingError: MLflow is not installed, or no server is named.
        """
        require_library("mlflow", "mlflow")
        if not (self.uri or os.environ.get(URI)):
            raise SettingError("tracker.uri", self.uri, f"must name a server, or set {URI}")

    def send(self, path: Path) -> str:
        """Write the rows as metrics by their number, the settings, the pictures and the page.

        Returns:
            What was made where.
        """
        run, uri = tracked(path), self.uri or os.environ[URI]
        with _patience():
            client: Any = import_module("mlflow").MlflowClient(tracking_uri=uri)
            found = client.get_experiment_by_name(self.experiment)
            place = found.experiment_id if found else client.create_experiment(self.experiment)
            own = hashlib.sha256(str(path.resolve()).encode()).hexdigest()
            for before in client.search_runs([place], f"tags.`{IDENTITY}` = '{own}'"):
                client.delete_run(before.info.run_id)
            made = client.create_run(place, run_name=run.name, tags={IDENTITY: own} | run.words)
            _log(client, made.info.run_id, run)
            for file in [*run.pictures, *path.glob("report.html")]:
                client.log_artifact(made.info.run_id, str(file))
            client.set_terminated(made.info.run_id)
        return f"run {made.info.run_id} of {uri}"


def _log(client: Any, run_id: str, run: Tracked) -> None:
    entities, now = import_module("mlflow.entities"), int(1000 * time.time())
    for step, row in enumerate(run.rows):
        metrics = [entities.Metric(name, value, now, step) for name, value in row.items()]
        client.log_batch(run_id, metrics=metrics)
    params = [entities.Param(name, value[:LONGEST]) for name, value in run.settings.items()]
    for k in range(0, len(params), MOST):
        client.log_batch(run_id, params=params[k : k + MOST])


@contextmanager
def _patience() -> Iterator[None]:
    """Less of it than MLflow's, unless the user has set it."""
    own = {name: value for name, value in PATIENCE.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)
