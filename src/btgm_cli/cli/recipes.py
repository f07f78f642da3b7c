"""The paper's figures as recipes: what each asks for, whose folder is whose, and what is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from btgm_cli.cli.config import build_object, compose_config, values_of
from btgm_cli.cli.tree import choices
from btgm_cli.core.errors import DataError, SettingError
from btgm_cli.report.figure import PaperFigure
from btgm_cli.store.files import file_hash, require_free_of, write_json
from btgm_cli.store.manifest import ABSENT, MANIFEST, Manifest, first_difference, read_manifest

OWNER, MADE = "figure.json", "made.json"
"""Say whose folder it is, and from what its figure was made."""

RUNS = "runs"
"""Its folder in that of a figure."""

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


@dataclass(frozen=True)
class Recipe:
    """A figure in its folder.

    Args:
        name: of the figure.
        figure: what it is.
        out: its folder.
        quick: few steps and draws?
        threads: of its runs that have not begun; None leaves torch's choice.
    """

    name: str
    figure: PaperFigure
    out: Path
    quick: bool
    threads: int | None

    def asked(self) -> dict[str, list[str]]:
        """What `btgm run` is asked for, by the names of the runs."""
        further = list(QUICK) if self.quick else []
        further += [f"threads={self.threads}"] if self.threads else []
        return {run: [*overrides, *further] for run, overrides in self.figure.runs().items()}

    def places(self) -> dict[str, Path]:
        """The directory of each run."""
        return {run: self.out / RUNS / run for run in self.figure.runs()}

    def claim(self) -> None:
        """Make `out` the folder of this figure.

        Raises:
            SettingError: another figure, or another's run, is there.
            DataError: what says whose it is is damaged.
        """
        for run, place in self.places().items():
            there = read_manifest(place)
            if there:
                asked = compose_config("run", self.asked()[run])
                refuse_another(there, asked, f"{place} holds a run", place.parents[1])
        file, wanted = self.out / OWNER, {"figure": self.name, "quick": self.quick}
        if not file.is_file():
            require_free_of(self.out, (f"{self.name}.md", f"{self.name}.csv"))
            write_json(file, wanted)
            return
        try:
            own = json.loads(file.read_text(encoding="utf-8"))
            told = f"{own['figure']} with quick={str(own['quick']).lower()}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(file, f"is damaged ({type(error).__name__})") from error
        if own != wanted:
            expected = f"holds {told}; choose another folder or remove it"
            raise SettingError("out", str(self.out), expected)

    def note_made(self, written: Sequence[Path], seconds: float) -> None:
        """Keep what the figure was made from, what was written, and how long it took."""
        files = {file.relative_to(self.out).as_posix(): file_hash(file) for file in written}
        write_json(self.out / MADE, self._source() | {"files": files, "seconds": seconds})

    def is_made(self) -> bool:
        """Is the figure there, as it was made, of these settings and of the runs as they are?"""
        found = _read(self.out / MADE)
        try:
            return found is not None and found == found | self._source() | {
                "files": {name: file_hash(self.out / name) for name in found["files"]}
            }
        except (OSError, KeyError, TypeError):
            return False

    def seconds(self) -> float:
        """Of wall time for its runs and for what was measured on them, as far as it is known."""
        made = _read(self.out / MADE) or {}
        runs = [read_manifest(place) for place in self.places().values()]
        return float(made.get("seconds", 0.0)) + sum(run.seconds for run in runs if run)

    def _source(self) -> dict[str, Any]:
        """What the figure is made from: its settings and its runs."""
        settings = hashlib.sha256(repr(self.figure).encode()).hexdigest()
        places = self.places()
        return {
            "settings": settings,
            "runs": {run: file_hash(places[run] / MANIFEST) for run in places},
        }


def load_figure(name: str, *, quick: bool = False) -> PaperFigure:
    """The figure that `conf/figure/NAME.yaml` describes.

    Raises:
        SettingError: a setting that does not fit.
    """
    settings: dict[Any, Any] = dict(compose_config(f"figure/{name}", [])["figure"])
    settings.pop("claim", None)
    rough = settings.pop("quick", {})
    settings |= {"name": name, "_convert_": "all"} | dict(rough if quick else {})
    figure: PaperFigure = build_object(OmegaConf.create(settings), "figure")
    return figure


def claim_of(name: str) -> str:
    """What the paper says that a figure shows; empty where its YAML does not tell."""
    return str(compose_config(f"figure/{name}", [])["figure"].get("claim", ""))


def refuse_another(there: Manifest, asked: DictConfig, what: str, out: Path) -> None:
    """Refuse a folder whose run has other settings, such as a quick one's.

    The threads may differ: they say how a run is made, and a launcher's have other ones.

    Args:
        there: what its run belongs to.
        asked: what it is to belong to.
        what: is there, in words.
        out: the folder that was named.

    Raises:
        SettingError: names the first setting that differs.
    """
    own = values_of(asked)
    settled = ["threads"] + ["device"] * (own["device"] == "auto")
    own |= {name: there.settings[name] for name in settled}
    found = first_difference(own, there.settings)
    if found:
        name, value, other = (None if part is ABSENT else part for part in found)
        expected = f"{what} with other settings ({name}={other!r}, not {value!r}); "
        expected += "choose another folder or remove it"
        raise SettingError("out", str(out), expected)


def _read(file: Path) -> dict[str, Any] | None:
    """A JSON object; None where it is missing or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
