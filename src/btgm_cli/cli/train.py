"""`btgm train`: train a network that ships with the package, or measure its gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from btgm_cli.cli.config import compose_config, values_of
from btgm_cli.cli.options import Options
from btgm_cli.cli.settings import checked, unknown
from btgm_cli.cli.targets import TARGET_KEY, named
from btgm_cli.cli.threads import chosen_threads
from btgm_cli.cli.tree import choices, conf_dir, text_of
from btgm_cli.core.errors import SettingError
from btgm_cli.core.memory import sparing
from btgm_cli.domains.pretraining.jobs import Job, evaluate, train
from btgm_cli.domains.pretraining.settings import RunSettings

GATE_FAILED = 3
SETTINGS = ("model", *(field.name for field in fields(RunSettings) if field.name != "name"))
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
    with sparing(_sizes(settings)):
        if run.evaluate_only:
            report = evaluate(kind, settings, run)
        else:
            report = train(kind, settings, run, command)
    for gate in (*report.gates, *report.told):
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
    if "name" in values:
        raise SettingError("name", values["name"], unknown("name", SETTINGS))
    model = values.pop("model")
    kind: type[Job] = named(config.model, "model")
    del model[TARGET_KEY]
    if not hasattr(kind, "settings_class"):
        raise SettingError(f"model.{TARGET_KEY}", config.model[TARGET_KEY], "must be a Job")
    # A YAML of the package _global_ may leave a setting of its own at the top.
    own = {field.name for field in fields(kind.settings_class)} - model.keys()
    at_top = {key: values.pop(key) for key in own & values.keys()}
    settings: Any = checked(kind.settings_class, {**model, **at_top}, "model.")
    name = getattr(settings, "name", name)
    return kind, settings, checked(RunSettings, {**values, "name": name})


def _sizes(settings: Any) -> dict[str, float]:
    """What decides how much memory a training takes."""
    given = vars(settings).items()
    return {f"model.{name}": n for name, n in given if isinstance(n, int) and name != "steps"}


def _chosen_model(overrides: Sequence[str], models: Sequence[str]) -> str:
    asked = [item.partition("=")[2] for item in overrides if item.startswith("model=")]
    if not asked or asked[-1] not in models:
        for item in overrides:  # a slip of the keyboard, perhaps
            key, _, value = item.partition("=")
            if key not in SETTINGS and "." not in key:
                raise SettingError(key, value, unknown(key, SETTINGS))
        reason = f"choose one of {', '.join(models)}"
        raise SettingError("model", asked[-1] if asked else None, reason)
    return asked[-1]


def _parse(argv: Sequence[str]) -> list[str]:
    """The overrides, with `--resume` as one of them."""
    about = "Train a network that ships with the package, or measure its gates."
    parser = Options("btgm train", about, _settings_help())
    parser.add_argument("--resume", action="store_true", help="go on from the last saved state")
    parsed = parser.read(argv)
    return [*parsed.settings, *["resume=true"] * parsed.resume]


def _settings_help() -> str:
    """The configuration files themselves, whose comments say what each setting does."""
    root = conf_dir() / "train"
    files = [root / "config.yaml", *sorted(root.glob("model/*.yaml"))]
    return "\n".join(f"{path.relative_to(root)}:\n{text_of(path)}" for path in files)


def _shapes_numbers(override: str) -> bool:
    """Whether a reader needs this override to make the same network."""
    return override.partition("=")[0] not in NOT_FOR_THE_CARD
