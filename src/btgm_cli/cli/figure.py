"""`btgm figure NAME`: one of the paper's figures, with the runs that it needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from btgm_cli.cli import run
from btgm_cli.cli.config import build_object, compose_config, values_of
from btgm_cli.cli.job import cpu_threads
from btgm_cli.cli.loading import load_run
from btgm_cli.cli.settings import arguments, checked
from btgm_cli.cli.threads import require_threads
from btgm_cli.cli.tree import choices
from btgm_cli.core.errors import BtgmError, DataError, SettingError
from btgm_cli.report.figure import PaperFigure
from btgm_cli.store.files import require_free_of, require_writable, write_json
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.manifest import ABSENT, MANIFEST, first_difference, read_manifest
from btgm_cli.store.runs import SUMMARY, read_run

OWNER = "figure.json"
"""Says whose folder it is."""

FIGURES = tuple(sorted(choices("figure"), key=lambda name: (len(name), name)))

QUICK = (
    "tuning.first_steps=10",
    "tuning.steps=5",
    "tuning.min_acceptance_rate=1",
    "tuning.n_eval=200",
    "tuning.n_reference=1000",
    "tuning.n_particles=200",
)
"""Settings that make a run take seconds, and its numbers mean nothing."""

CHOSEN = {"threads": None, "device": "auto"}
"""What a run settles by itself, where it is given so."""

USAGE = f"""usage: btgm figure FIGURE [SETTING=VALUE ...]

  FIGURE         {", ".join(FIGURES)}
  quick=false    true: few steps and draws, so that it takes seconds and the numbers mean nothing
  out=           a folder; by default outputs/figures/FIGURE, or outputs/figures/quick/FIGURE
  threads=       CPU threads, of its runs too; see `btgm run --cfg job`

A finished run in the folder is used again, one that was interrupted goes on."""


@dataclass(frozen=True)
class Request:
    """What was asked for; see `USAGE`.

    Raises:
        SettingError: `out` cannot be a folder.
    """

    quick: bool = False
    out: Path | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        require_threads(self.threads)
        if self.out and (self.out / MANIFEST).is_file():
            raise SettingError("out", str(self.out), "is a run directory; choose another")

    def folder(self, name: str) -> Path:
        """Where a figure goes."""
        part = ["quick"] if self.quick else []
        return self.out or Path("outputs", "figures", *part, name)


def main(argv: Sequence[str]) -> int:
    """Make the runs of a figure, measure, draw, and print the table and the files.

    Returns:
        0 where the figure was made, whatever the runs' verdicts: they are part of it.

    Raises:
        SettingError: no such figure, a setting that cannot be used, or other runs in the folder.
    """
    if argv and argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *settings = argv or [""]
    if name not in FIGURES:
        raise SettingError("figure", name, f"choose one of {', '.join(FIGURES)}")
    request = checked(Request, arguments(settings))
    out = request.folder(name)
    require_writable("out", out)
    figure = load_figure(name, quick=request.quick)
    further = list(QUICK) if request.quick else []
    further += [f"threads={request.threads}"] if request.threads else []
    asked = {run: [*overrides, *further] for run, overrides in figure.runs().items()}
    _claim(asked, out, name, quick=request.quick)
    with cpu_threads(request.threads):
        written = figure.make(_runs(asked, out), out)
    print(out.joinpath(f"{name}.md").read_text(encoding="utf-8"))
    print("\n".join(map(str, written)))
    sys.stdout.flush()
    return 0


def load_figure(name: str, *, quick: bool = False) -> PaperFigure:
    """The figure that `conf/figure/NAME.yaml` describes.

    Raises:
        SettingError: a setting that does not fit.
    """
    settings: dict[Any, Any] = dict(compose_config(f"figure/{name}", [])["figure"])
    rough = settings.pop("quick", {})
    settings |= {"name": name, "_convert_": "all"} | dict(rough if quick else {})
    figure: PaperFigure = build_object(OmegaConf.create(settings), "figure")
    return figure


def _places(asked: dict[str, list[str]], out: Path) -> dict[str, Path]:
    """The directory of each run of a figure."""
    return {name: out / "runs" / name for name in asked}


def _claim(asked: dict[str, list[str]], out: Path, name: str, *, quick: bool) -> None:
    """Make `out` the folder of this figure, unless another one, or another's run, is there."""
    for run_name, place in _places(asked, out).items():
        _refuse_another(place, compose_config("run", asked[run_name]))
    file = out / OWNER
    wanted = {"figure": name, "quick": quick}
    if not file.is_file():
        require_free_of(out, (f"{name}.md", f"{name}.csv"))
        write_json(file, wanted)
        return
    try:
        own = json.loads(file.read_text(encoding="utf-8"))
        told = f"{own['figure']} with quick={str(own['quick']).lower()}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(file, f"is damaged ({type(error).__name__})") from error
    if own != wanted:
        expected = f"holds {told}; choose another folder or remove it"
        raise SettingError("out", str(out), expected)


def _runs(asked: dict[str, list[str]], out: Path) -> dict[str, LoadedRun]:
    """The finished runs of a figure by their names.

    Raises:
        DataError: a finished run is damaged.
    """
    places = _places(asked, out)
    for place in places.values():
        if (place / SUMMARY).is_file():
            read_run(place)
    return {name: _finished(places[name], overrides) for name, overrides in asked.items()}


def _finished(path: Path, overrides: Sequence[str]) -> LoadedRun:
    """The run in `path`: as it is if it is finished, else made, or gone on with.

    Raises:
        BtgmError: it could not be finished.
    """
    if not (path / SUMMARY).is_file():
        begun = (path / MANIFEST).is_file()
        code = run.main([f"resume={path}"] if begun else [*overrides, f"out={path}"])
        # 3 is a verdict, and part of the figure.
        if code not in (0, 3):
            raise BtgmError(f"the run in {path} did not end: see {path / 'run.log'}")
    return load_run(path)


def _refuse_another(path: Path, asked: DictConfig) -> None:
    """Refuse a folder whose run has other settings, such as a quick one's."""
    there = read_manifest(path)
    if there is None:
        return
    own = values_of(asked)
    own |= {key: there.settings[key] for key, value in CHOSEN.items() if own[key] == value}
    found = first_difference(own, there.settings)
    if found:
        name, value, other = (None if part is ABSENT else part for part in found)
        expected = f"{path} holds a run with other settings ({name}={other!r}, not {value!r}); "
        expected += "choose another folder or remove it"
        raise SettingError("out", str(path.parents[1]), expected)
