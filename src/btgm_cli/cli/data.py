"""`btgm data`: fetch or build the data that training needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from btgm_cli.cli.config import compose_config, values_of
from btgm_cli.cli.settings import arguments, checked
from btgm_cli.cli.targets import TARGET_KEY, named
from btgm_cli.cli.tree import choices, conf_dir, text_of
from btgm_cli.core.errors import SettingError
from btgm_cli.domains.pretraining.data import Built, Fetched

USAGE = """usage: btgm data fetch NAME [SETTING=VALUE ...]
       btgm data build NAME [SETTING=VALUE ...] --input FILE ...

What NAME may be, with its settings:"""


def main(argv: Sequence[str]) -> int:
    """Run `btgm data fetch NAME` or `btgm data build NAME --input FILE ...`.

    Raises:
        SettingError: no such data, or a setting that is unknown or cannot be used.
        DataError: no mirror gave a sound file, or the files cannot be used.
    """
    if any(item in ("-h", "--help") for item in argv):
        files = sorted((conf_dir() / "data").glob("*.yaml"))
        print("\n\n".join([USAGE, *(f"{path.stem}:\n{text_of(path)}" for path in files)]))
        return 0
    action, name, *rest = [*argv, "", ""][: max(2, len(argv))]
    if action not in ("fetch", "build"):
        raise SettingError("data", action, "choose one of fetch, build")
    inputs = [item for item in rest if _is_input(item)]
    data = _data(name, [item for item in rest if not _is_input(item) and item != "--input"])
    if action == "fetch" and isinstance(data, Fetched) and not inputs:
        lines = data.fetch()
    elif action == "build" and isinstance(data, Built) and inputs:
        lines = data.build([Path(item) for item in inputs])
    else:
        way = f"fetch {name}" if isinstance(data, Fetched) else f"build {name} --input FILE ..."
        raise SettingError("data", " ".join([action, name, *inputs]), f"type btgm data {way}")
    for line in lines:
        print(line)
    return 0


def _is_input(item: str) -> bool:
    """Is it a file, and no setting or option?"""
    return Path(item).is_file() or not ("=" in item or item.startswith("-"))


def _data(name: str, settings: Sequence[str]) -> Any:
    """What `conf/data/NAME.yaml` describes, with these settings."""
    names = choices("data")
    if name not in names:
        raise SettingError("data", name, f"choose one of {', '.join(names)}")
    node = compose_config(f"data/{name}", [])["data"]
    values, kind = values_of(node, TARGET_KEY), named(node, "data")
    return checked(kind, values | arguments(settings))
