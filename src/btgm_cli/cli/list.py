"""`btgm list`: the models and criteria, a line each."""

from __future__ import annotations

from pathlib import Path

from btgm_cli.cli.tree import choices, conf_dir, own_folders, text_of
from btgm_cli.core.errors import SettingError


def main(argv: list[str]) -> int:
    """Print each option of the groups `model` and `criterion` with its first comment.

    Raises:
        SettingError: it was given a setting.
    """
    if argv in (["-h"], ["--help"]):
        print("usage: btgm list")
        return 0
    if argv:
        raise SettingError("list", " ".join(argv), "takes no settings")
    for group in ("model", "criterion"):
        print(f"{group}:")
        packaged = choices(group)
        for name in packaged:
            print(f"  {name:16} {_about(conf_dir() / group / f'{name}.yaml')}")
        for folder in own_folders():
            for name in choices(group, Path(folder)):
                if name not in packaged:
                    file = Path(folder, group, f"{name}.yaml")
                    print(f"  {name:16} {_about(file)} (your own: {file})")
                    packaged.append(name)
    return 0


def _about(file: Path) -> str:
    """What the first line of an option's file says of it."""
    try:
        first = text_of(file).partition("\n")[0]
    except (OSError, ValueError) as error:
        return f"cannot be read ({type(error).__name__})"
    return first.removeprefix("#").strip()
