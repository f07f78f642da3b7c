"""The card of a checkpoint: how it was made and how good it is."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from btgm_cli.domains.pretraining.gates import Gate, GateReport
from btgm_cli.domains.pretraining.loop import Record
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.store.files import write_json

DISTRIBUTIONS = ("btgm", "torch", "numpy", "safetensors")


def write_card(
    weights: Path,
    command: str,
    settings: dict[str, Any],
    run: RunSettings,
    record: Record,
    report: GateReport,
    origin: dict[str, Any],
) -> Path:
    """Write the card of `weights` beside it, as JSON; returns its path.

    Args:
        weights: The `.safetensors` file.
        command: What a reader types to make it again.
        settings: What shaped the network.
        run: Where and how it was trained.
        record: How the training went.
        report: How good the network is.
        origin: Checksums of all that it was made from.
    """
    card = {
        "name": run.name,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "command": command,
        "seed": run.seed,
        "settings": settings,
        **origin,
        "versions": _versions(),
        "device": run.torch_device.type,
        "threads": run.threads,
        "training_seconds": round(record.seconds),
        "metrics": report.metrics,
        "gates": _rows(report.gates),
        **({"told_gates": _rows(report.told)} if report.told else {}),
    }
    path = weights.with_suffix(".json")
    write_json(path, card)
    return path


def _versions() -> dict[str, str]:
    installed = {name: version(name) for name in DISTRIBUTIONS}
    return {"python": platform.python_version(), **installed}


def _rows(gates: Sequence[Gate]) -> list[dict[str, Any]]:
    return [{**_finite(asdict(gate)), "passed": gate.passed} for gate in gates]


def _finite(gate: dict[str, Any]) -> dict[str, Any]:
    """Without the open ends of a range, which JSON cannot write."""
    infinite = {float("inf"), -float("inf")}
    return {key: value for key, value in gate.items() if value not in infinite}
