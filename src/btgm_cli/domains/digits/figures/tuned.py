"""Figs. 3 to 7: what is measured on their runs and written into their folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from btgm_cli.domains.digits.figures import pictures
from btgm_cli.domains.digits.figures.numbers import compared
from btgm_cli.domains.digits.figures.pages import looks_page, numbers_page
from btgm_cli.domains.digits.figures.strokes import looks
from btgm_cli.report import save
from btgm_cli.report.figure import path_of
from btgm_cli.store.files import write_text
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.tables import write_table


@dataclass(frozen=True)
class TunedDigits:
    """A `report.figure.PaperFigure` of tuned GANs; its runs are `btgm run experiment=NAME`.

    Args:
        name: of the figure, and of its experiment.
        tunings: options of the group `tuning`, a run for each.
        kl: the paper's KL(q‖p) in nats at each of its β; empty where it prints none.
        draws: fresh samples at each β behind the class shares.
        betas: the path of the runs; None leaves the experiment's.
    """

    name: str
    tunings: Sequence[str] = ("default",)
    kl: Mapping[float, float] = field(default_factory=dict)
    draws: int = 1000
    betas: list[float] | None = None

    def runs(self) -> dict[str, list[str]]:
        """What `btgm run` is asked for, by tuning."""
        path = path_of(self.betas)
        return {
            tuning: [f"experiment={self.name}", f"tuning={tuning}", *path]
            for tuning in self.tunings
        }

    def make(self, runs: Mapping[str, LoadedRun], out: Path) -> list[Path]:
        """Write the tables, the page's and the pictures; returns what was written."""
        tables = {self.name: compared(self.kl, {name: run.run for name, run in runs.items()})}
        page = numbers_page(tables[self.name])
        if self.kl:
            tables["shares"] = looks(runs["default"], self.draws)
            page += "\n" + looks_page(tables["shares"])
        for name, rows in tables.items():
            write_table(out / f"{name}.csv", rows)
        text = out / f"{self.name}.md"
        write_text(text, page)
        return [*(out / f"{name}.csv" for name in tables), text, *self._draw(runs, out)]

    def _draw(self, runs: Mapping[str, LoadedRun], out: Path) -> list[Path]:
        if self.kl:
            figure = pictures.front_and_grid(runs["default"].run)
        else:
            figure = pictures.against_beta({name: run.run for name, run in runs.items()})
        return [save(figure, out / f"{self.name}.{kind}") for kind in ("png", "pdf")]
