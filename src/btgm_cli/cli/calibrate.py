"""`btgm calibrate`: do posteriors of simulated data sets cover the θ behind them?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from btgm_cli import __version__
from btgm_cli.cli.config import build_model, build_object, compose_config, values_of
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.options import Options
from btgm_cli.cli.places import dated
from btgm_cli.cli.settings import checked, require_least
from btgm_cli.cli.threads import require_threads
from btgm_cli.cli.tree import conf_dir, text_of
from btgm_cli.core.blame import name_of
from btgm_cli.core.contracts import Calibratable
from btgm_cli.core.errors import SettingError
from btgm_cli.report.calibration import ABOUT, BINS, TRIALS, draw_calibration
from btgm_cli.store.files import require_writable, write_json
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.truth.coverage import Coverage, counts, covered, status_of

PARTS = ("model", "criterion", "experiment")


@dataclass(frozen=True)
class Settings:
    """What can be set beside the parts; see `conf/calibrate.yaml`.

    Raises:
        SettingError: a value out of range.
    """

    n: int
    seed: int
    threads: int | None
    out: Path | None

    def __post_init__(self) -> None:
        require_least(self, n=10, seed=0)
        require_threads(self.threads)


def main(argv: Sequence[str]) -> int:
    """Fit simulated data sets, and count how often their truths are covered.

    Returns:
        0 where as many are as should be, else 3; tables and picture are written in either case.

    Raises:
        SettingError: a setting that cannot be used, or a folder with another calibration.
    """
    if any(argument in ("-h", "--help") for argument in argv):
        usage = "usage: btgm calibrate criterion.data=FILE [SETTING=VALUE ...]"
        print(f"{usage}\n\n{text_of(conf_dir() / 'calibrate.yaml')}", end="")
        return 0
    cfg = compose_config("calibrate", Options("btgm calibrate").read(argv).settings)
    settings = checked(Settings, values_of(cfg, *PARTS))
    about: dict[str, Any] = {
        "parts": values_of(cfg, "n", "threads", "out", "experiment"),
        "version": __version__,
    }
    name = str(cfg.hydra.runtime.choices.model)
    out = settings.out or dated("calibrate", name)
    rows = _begun(out, about)
    with cpu_threads(settings.threads):
        model = build_model(cfg.model)
        criterion = build_object(cfg.criterion, "criterion")
        if not isinstance(criterion, Calibratable):
            expected = "has no posteriors to calibrate; choose criterion=fit"
            raise SettingError("criterion", name_of(criterion), expected)
        write_json(out / ABOUT, about)
        first = 1 + max((row["data_set"] for row in rows), default=-1)
        for number in tqdm(range(first, settings.n), desc="data sets", disable=None):
            for found in criterion.trial(model, number, settings.seed):
                rows.append({"data_set": number, **asdict(found)})
            write_table(out / TRIALS, rows)
    return _tell(rows, out, about)


def _begun(out: Path, about: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an earlier sitting with the same settings.

    Raises:
        SettingError: one with others.
    """
    require_writable("out", out)
    if not (out / ABOUT).exists():
        return []
    before = json.loads((out / ABOUT).read_text(encoding="utf-8"))
    if {key: before.get(key) for key in about} != json.loads(json.dumps(about)):
        raise SettingError("out", str(out), "holds a calibration with other settings")
    table = read_table(out / TRIALS)
    table = table.assign(doubt=table["doubt"].astype(object).fillna("")) if len(table) else table
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _tell(rows: Sequence[dict[str, Any]], out: Path, about: dict[str, Any]) -> int:
    """The counts, on the terminal and in files; the exit code."""
    each = [
        covered(str(name), part["rank"].to_list(), part["doubt"].to_list())
        for name, part in pd.DataFrame(rows).groupby("parameter", sort=False)
    ]
    for one in each:
        print(_line(one))
    status, reason = status_of(each)
    found = {"status": status, "reason": reason, "coverage": [asdict(one) for one in each]}
    write_json(out / ABOUT, about | found | {"band": counts(each[0].n, 1 / BINS)})
    draw_calibration(out)
    print(f"{status}{': ' * bool(reason)}{reason}")
    print(out)
    return 0 if status == "ok" else 3


def _line(one: Coverage) -> str:
    doubted = f"; {one.doubted} fits were doubted" if one.doubted else ""
    return (
        f"{one.parameter:12} 90 % intervals cover the truth in {one.inside} of {one.n} "
        f"({one.low} to {one.high} expected), ranks p = {one.p:.2g}{doubted}"
    )
