"""`btgm train`: train a network that ships with the package, or measure its gates."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from hydra.utils import get_class

from btgm_cli.cli.config import compose_config, values_of
from btgm_cli.cli.settings import checked
from btgm_cli.cli.threads import chosen_threads
from btgm_cli.cli.tree import choices, conf_dir, text_of
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.pretraining.jobs import Job, evaluate, train
from btgm_cli.domains.pretraining.settings import RunSettings

GATE_FAILED = 3
NOT_FOR_THE_CARD = ("data_dir", "out", "resume")


def main(argv: Sequence[str]) -> int:
    """Run `btgm train`; the exit code is 3 if the network misses a gate.

    Raises:
        BtgmError: A setting or a data file that cannot be used.
    """
    overrides = _parse(argv)
    kind, settings, run = read_settings(overrides)
    torch.set_num_threads(chosen_threads(run.threads))
    command = " ".join(["btgm train", *filter(_shapes_numbers, overrides)])
    if run.evaluate_only:
        report = evaluate(kind, settings, run)
    else:
        report = train(kind, settings, run, command)
    for gate in report.gates:
        print(gate)
    for name, value in report.metrics.items():
        print(f"{name:<36} {value:>9.4f}")
    return 0 if report.passed else GATE_FAILED


def read_settings(overrides: Sequence[str]) -> tuple[type[Job], Any, RunSettings]:
    """Compose `conf/train` with `overrides` into checked settings.

    Returns:
        Which network, what shapes it, and where and how to train it.

    Raises:
        SettingError: An unknown setting or choice, or a value that does not fit.
    """
    root = conf_dir() / "train"
    name = _chosen_model(overrides, choices("model", root))
    config = compose_config("config", overrides, root=root)
    values = values_of(config, "hydra")
    model = values.pop("model")
    kind: type[Job] = get_class(model.pop("_target_"))
    settings: Any = checked(kind.settings_class, model, "model.")
    return kind, settings, checked(RunSettings, {**values, "name": name})


def _chosen_model(overrides: Sequence[str], models: Sequence[str]) -> str:
    named = [item.partition("=")[2] for item in overrides if item.startswith("model=")]
    if not named or named[-1] not in models:
        reason = f"choose one of {', '.join(models)}"
        raise SettingError("model", named[-1] if named else None, reason)
    return named[-1]


def _parse(argv: Sequence[str]) -> list[str]:
    """The overrides, with `--resume` as one of them."""
    parser = argparse.ArgumentParser(
        "btgm train",
        description="Train a network that ships with the package, or measure its gates.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="SETTING=VALUE", help="as listed below")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved state")
    parsed = parser.parse_intermixed_args(argv)
    return [*parsed.overrides, *["resume=true"] * parsed.resume]


def _settings_help() -> str:
    """The configuration files themselves, whose comments say what each setting does."""
    root = conf_dir() / "train"
    files = [root / "config.yaml", *sorted(root.glob("model/*.yaml"))]
    return "\n".join(f"{path.relative_to(root)}:\n{text_of(path)}" for path in files)


def _shapes_numbers(override: str) -> bool:
    """Whether a reader needs this override to make the same network."""
    return override.partition("=")[0] not in NOT_FOR_THE_CARD
