"""`btgm list`: the models and criteria, a line each."""

from __future__ import annotations

from btgm_cli.cli.tree import choices, conf_dir, text_of
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
        for name in choices(group):
            first = text_of(conf_dir() / group / f"{name}.yaml").splitlines()[0]
            print(f"  {name:16} {first.removeprefix('#').strip()}")
    return 0
