"""The tree of configuration files, as files: what a command can tell without reading them."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """The configuration tree: the copy inside an installed package, else the repository's."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def choices(group: str, root: Path | None = None) -> list[str]:
    """The options of a configuration group, sorted."""
    return sorted(path.stem for path in ((root or conf_dir()) / group).glob("*.yaml"))


def text_of(path: Path) -> str:
    """What a file of the tree says, whatever the locale."""
    return path.read_text(encoding="utf-8")


def own_folders() -> list[str]:
    """Where a user's own options are looked for, relative to the working directory."""
    return [folder for folder in (".", "./conf") if Path(folder).is_dir()]
