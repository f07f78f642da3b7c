"""What follows a command: settings, and the few options, whose faults are one line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from btgm_cli.cli.settings import unknown
from btgm_cli.core.errors import BtgmError, SettingError

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")


class Options(argparse.ArgumentParser):
    """A parser of options that raises where others print a page and exit.

    Args:
        command: as typed, such as `btgm run`.
        description: the first lines of its help; the rest is `epilog`.
        epilog: likewise, printed as it is.
    """

    def __init__(self, command: str, description: str = "", epilog: str = "") -> None:
        super().__init__(
            command,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="as listed below")

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """The options and, as `settings`, all else.

        Raises:
            BtgmError: an option that is unknown, or without its value.
        """
        parsed, others = self.parse_known_intermixed_args(argv)
        if others:
            known = [name for name in self._option_string_actions if name.startswith("--")]
            raise SettingError("option", others[0], unknown(others[0], known, "unknown"))
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise BtgmError(message)


@dataclass(frozen=True)
class Asked:
    """What `btgm run` was asked for.

    Args:
        settings: as typed.
        sweep: several runs?
        shown: Hydra's options where nothing is to be run: its help, or the configuration.
    """

    settings: list[str]
    sweep: bool
    shown: list[str]


def read_run(argv: Sequence[str]) -> Asked:
    """The arguments of `btgm run`, with those options of Hydra that leave the settings alone.

    Raises:
        BtgmError: as `Options.read`.
    """
    parser = Options("btgm run")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("--hydra-help", action="store_true")
    parser.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
    parser.add_argument("-r", "--resolve", action="store_true")
    parser.add_argument("-p", "--package")
    parser.add_argument("-i", "--info", nargs="?", const="all", choices=INFO)
    given = parser.read([item for item in argv if item not in ("-h", "--help")])
    shown = [] if len(given.settings) == len(argv) else _shown(given, argv)
    if not shown and (given.resolve or given.package):
        raise BtgmError("--resolve and --package say how to show the configuration: add --cfg job")
    return Asked(given.settings, given.multirun, shown)


def _shown(given: argparse.Namespace, argv: Sequence[str]) -> list[str]:
    """The options that show something, as Hydra takes them."""
    named = {"--cfg": given.cfg, "--info": given.info}
    shown = [word for name, value in named.items() if value for word in (name, value)]
    shown += ["--hydra-help"] * given.hydra_help
    shown += ["--help"] * any(item in ("-h", "--help") for item in argv)
    if shown and given.resolve:
        shown.append("--resolve")
    if shown and given.package:
        shown += ["--package", given.package]
    return shown
