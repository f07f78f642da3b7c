"""`btgm data`: fetch the data that training needs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from btgm_cli.data import DATA_DIR_VARIABLE, fetch_mnist, resolve_data_dir


def main(argv: Sequence[str]) -> int:
    """Run `btgm data fetch mnist`.

    Raises:
        DataError: No mirror gave a sound file.
    """
    parser = argparse.ArgumentParser("btgm data", description=__doc__)
    parser.add_argument("action", choices=["fetch"])
    parser.add_argument("name", choices=["mnist"])
    parser.add_argument(
        "setting",
        nargs="?",
        default="data_dir=",
        metavar="data_dir=FOLDER",
        help=f"where to put mnist/; by default ${DATA_DIR_VARIABLE}, else {resolve_data_dir()}",
    )
    parsed = parser.parse_args(argv)
    key, _, folder = parsed.setting.partition("=")
    if key != "data_dir":
        parser.error(f"unknown setting {parsed.setting!r}; the only one is data_dir=FOLDER")
    print(f"MNIST is in {fetch_mnist(folder)}")
    return 0
