"""`btgm data`: fetch or build the data that training needs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from btgm_cli.domains.digits.mnist import fetch_mnist
from btgm_cli.domains.load.build import HOUSEHOLDS_NAME, SHOWN, Built, build_weekly, write_weekly
from btgm_cli.domains.load.weekly import load_file
from btgm_cli.store.data_dir import DATA_DIR_VARIABLE, resolve_data_dir

LOAD_HELP = """\
Build the weekly load that `btgm train model=vae_energy` reads, from raw meter readings.

Of the London trial: the data set "SmartMeter Energy Consumption Data in London Households" of UK
Power Networks, on the London Datastore (data set smartmeter-energy-use-data-in-london-households);
files with the columns LCLid,tstp,energy(kWh/hh), time stamps in UTC. Or your own, CSV or Parquet:
household,timestamp,kWh (energy of the step) or household,timestamp,kW (mean power of the step),
every 15, 20, 30 or 60 minutes, time stamps with an offset or in local time.

Weeks with a missing reading are left out and counted, and so are those in which the clock changes;
nothing is filled in. A row that cannot be used is refused with its file and line, and its week
falls out."""


def main(argv: Sequence[str]) -> int:
    """Run `btgm data fetch mnist` or `btgm data build load`.

    Raises:
        DataError: No mirror gave a sound file, or the readings cannot be used.
        SettingError: No such time zone.
    """
    parser = argparse.ArgumentParser("btgm data", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    fetch = actions.add_parser("fetch", help="download MNIST")
    fetch.add_argument("name", choices=["mnist"])
    fetch.add_argument(
        "setting",
        nargs="?",
        default="data_dir=",
        metavar="data_dir=FOLDER",
        help=f"where to put mnist/; by default ${DATA_DIR_VARIABLE}, else {resolve_data_dir()}",
    )
    _add_build(actions)
    parsed = parser.parse_args(argv)
    if parsed.action == "build":
        return _build(parsed.input, parsed.out or load_file().parent, parsed.timezone)
    key, _, folder = parsed.setting.partition("=")
    if key != "data_dir":
        parser.error(f"unknown setting {parsed.setting!r}; the only one is data_dir=FOLDER")
    print(f"MNIST is in {fetch_mnist(folder)}")
    return 0


def _add_build(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    build = actions.add_parser(
        "build",
        help="cut meter readings into weeks",
        description=LOAD_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    build.add_argument("name", choices=["load"])
    build.add_argument("--input", nargs="+", type=Path, required=True, metavar="FILE")
    build.add_argument(
        "--out", type=Path, metavar="DIR", help=f"output folder; by default {load_file().parent}"
    )
    build.add_argument("--timezone", default="Europe/London", help="by default %(default)s")


def _build(files: Sequence[Path], out: Path, timezone: str) -> int:
    built = build_weekly(files, timezone)
    path, attribution = write_weekly(built, files, out)
    for line in _report(built):
        print(line)
    print(f"written: {path}")
    print(attribution)
    return 0


def _report(built: Built) -> list[str]:
    """What was kept and what was not."""
    lines = [f"{built.rows} rows read, a reading every {built.step_min} minutes"]
    lines += built.bad.summary() + [f"  {row}" for row in built.bad.first]
    hidden = built.bad.total - len(built.bad.first)
    lines += [f"  and {hidden} more"] * (hidden > 0)
    fates = built.fates
    lines += [
        f"{built.weeks} weeks, beside {built.clock_change_weeks} left out: the clock changes",
        f"{len(fates)} households, {fates['kept'].sum()} household-weeks kept; left out:",
        f"  {fates['absent'].sum()} without a reading",
        f"  {fates['zero'].sum()} without any power",
        f"  {fates['with_gaps'].sum()} with gaps",
    ]
    gaps = fates[fates["with_gaps"] > 0]
    shown = zip(gaps["name"][:SHOWN], gaps["with_gaps"][:SHOWN], strict=True)
    lines += [f"    {name}: {weeks}" for name, weeks in shown]
    return lines + [f"    and {len(gaps) - SHOWN} more, in {HOUSEHOLDS_NAME}"] * (
        len(gaps) > SHOWN
    )
