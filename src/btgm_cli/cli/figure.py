"""`btgm figure NAME`: one of the paper's figures, with the runs that it needs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from btgm_cli.cli import run
from btgm_cli.cli.config import compose_config
from btgm_cli.cli.loading import LoadedRun, load_run, read_run_config
from btgm_cli.core.errors import BtgmError, SettingError
from btgm_cli.domains.digits.figures import gradients, tuned
from btgm_cli.domains.digits.figures.recipes import DRAWS, GRADIENTS, QUICK_DRAWS, RECIPES, Recipe
from btgm_cli.domains.load.figures import weeks
from btgm_cli.domains.load.figures.recipes import WEEKS, WeeksRecipe
from btgm_cli.store.runs import SUMMARY

FIGURES = tuple(sorted((GRADIENTS, *RECIPES, *WEEKS)))

USAGE = f"""usage: btgm figure FIGURE [SETTING=VALUE ...]

  FIGURE         {", ".join(FIGURES)}
  quick=false    true: few steps and draws, so that it takes seconds and the numbers mean nothing
  out=           a folder; by default outputs/figures/FIGURE, or outputs/figures/quick/FIGURE

A finished run in the folder is used again, one that was interrupted goes on."""


@dataclass(frozen=True)
class Request:
    """What was asked for; see `USAGE`."""

    name: str
    quick: bool
    out: Path


def main(argv: Sequence[str]) -> int:
    """Make the runs of a figure, measure, draw, and print the table and the files.

    Returns:
        0 where the figure was made, whatever the runs' verdicts: they are part of it.

    Raises:
        SettingError: no such figure, a setting that cannot be used, or other runs in the folder.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if argv else 2
    request = _parse(argv)
    written = _make(request)
    print(request.out.joinpath(f"{request.name}.md").read_text())
    print("\n".join(map(str, written)))
    sys.stdout.flush()
    return 0


def _make(request: Request) -> list[Path]:
    if request.name == GRADIENTS:
        return gradients.make(request.out, quick=request.quick)
    draws = QUICK_DRAWS if request.quick else DRAWS
    if request.name in WEEKS:
        load = WEEKS[request.name]
        return weeks.make(load, _runs(load, load.criteria, request), request.out, draws)
    recipe = RECIPES[request.name]
    return tuned.make(recipe, _runs(recipe, recipe.tunings, request), request.out, draws)


def _runs(
    recipe: Recipe | WeeksRecipe, names: Iterable[str], request: Request
) -> dict[str, LoadedRun]:
    """The finished runs of a figure by their names; refused before any work where in the way."""
    asked = {name: recipe.overrides(name, quick=request.quick) for name in names}
    places = {name: request.out / "runs" / name for name in asked}
    for name, overrides in asked.items():
        _refuse_another(places[name], compose_config("run", overrides))
    return {name: _finished(places[name], overrides) for name, overrides in asked.items()}


def _finished(path: Path, overrides: Sequence[str]) -> LoadedRun:
    """The run in `path`: as it is if it is finished, else made, or gone on with.

    Raises:
        BtgmError: it could not be finished.
    """
    if not (path / SUMMARY).is_file():
        begun = (path / ".hydra" / "config.yaml").is_file()
        code = run.main([f"resume={path}"] if begun else [*overrides, f'hydra.run.dir="{path}"'])
        # 3 is a verdict, and part of the figure.
        if code not in (0, 3):
            raise BtgmError(f"the run in {path} did not end: see {path / 'run.log'}")
    return load_run(path)


def _refuse_another(path: Path, asked: DictConfig) -> None:
    """Refuse a folder whose run has other settings, such as a quick one's."""
    if not (path / ".hydra" / "config.yaml").is_file():
        return
    own = OmegaConf.masked_copy(asked, [str(key) for key in asked if key != "hydra"])
    if read_run_config(path) != own:
        expected = f"{path} holds a run with other settings; choose another folder or remove it"
        raise SettingError("out", str(path.parents[1]), expected)


def _parse(argv: Sequence[str]) -> Request:
    name, settings = argv[0], argv[1:]
    if name not in FIGURES:
        raise SettingError("figure", name, f"choose one of {', '.join(FIGURES)}")
    given: dict[str, str] = {}
    for item in settings:
        key, equals, value = item.partition("=")
        if key not in ("quick", "out") or not equals:
            raise SettingError(key, value, "unknown setting; choose from quick, out")
        given[key] = value
    quick = given.get("quick", "false")
    if quick not in ("true", "false"):
        raise SettingError("quick", quick, "must be true or false")
    default = Path("outputs/figures", *(["quick"] if quick == "true" else []), name)
    return Request(name, quick == "true", _folder(given["out"]) if "out" in given else default)


def _folder(value: str) -> Path:
    path = Path(value)
    if not value or any(part.exists() and not part.is_dir() for part in (path, *path.parents)):
        raise SettingError("out", value, "must be a folder, or a new one's name")
    return path
