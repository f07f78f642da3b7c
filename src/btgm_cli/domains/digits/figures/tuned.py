"""Figs. 3 to 7 and 10: what is measured on their runs and written into their folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from btgm_cli.domains.digits.figures import pictures
from btgm_cli.domains.digits.figures.numbers import class_shares, compared
from btgm_cli.domains.digits.figures.pages import looks_page, numbers_page, shares_page
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
        return runs_of(self.name, self.tunings, self.betas)

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


@dataclass(frozen=True)
class RefinedDigits:
    """A `report.figure.PaperFigure` of a VAE refined by its discriminator: Fig. 10.

    Its runs are `btgm run experiment=NAME`, one for each tuning.

    Args:
        name: of the figure, and of its experiment.
        kl: the paper's KL(q‖p) in nats at each β of its grid of samples.
        tunings: options of the group `tuning`.
        betas: the path of the runs; None leaves the experiment's.
    """

    name: str
    kl: Mapping[float, float]
    tunings: Sequence[str] = ("paper", "default")
    betas: list[float] | None = None

    def runs(self) -> dict[str, list[str]]:
        """What `btgm run` is asked for, by tuning."""
        return runs_of(self.name, self.tunings, self.betas)

    def make(self, runs: Mapping[str, LoadedRun], out: Path) -> list[Path]:
        """Write the tables, the page's and the picture; returns what was written."""
        read = {name: run.run for name, run in runs.items()}
        rows, shares = compared(self.kl, read), class_shares(read)
        write_table(out / f"{self.name}.csv", rows)
        write_table(out / "shares.csv", shares)
        text = out / f"{self.name}.md"
        write_text(text, f"{numbers_page(rows)}\n{shares_page(shares)}")
        figure = pictures.paths_and_grids(read, list(self.kl))
        drawn = [save(figure, out / f"{self.name}.{kind}") for kind in ("png", "pdf")]
        return [out / f"{self.name}.csv", out / "shares.csv", text, *drawn]


def runs_of(name: str, tunings: Sequence[str], betas: list[float] | None) -> dict[str, list[str]]:
    """The runs of an experiment, by tuning; with betas along these."""
    path = path_of(betas)
    return {tuning: [f"experiment={name}", f"tuning={tuning}", *path] for tuning in tunings}
