"""`index.html`: the paper's figures with their claims, verdicts, commands and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from btgm_cli.report.html.embedding import png_uri
from btgm_cli.report.html.pages import Picture, render
from btgm_cli.store.files import write_text

INDEX = "index.html"


@dataclass(frozen=True)
class Made:
    """A figure as far as it is made.

    Args:
        name: of the figure.
        claim: what the paper says that it shows.
        folder: where it is.
        verdicts: on its runs, by their names.
        command: that makes it.
        seconds: of wall time, its runs' one by one added up.
        made: is it there?
        fault: why it could not be made; empty where it could.
    """

    name: str
    claim: str
    folder: Path
    verdicts: Mapping[str, str]
    command: str
    seconds: float
    made: bool
    fault: str

    @property
    def heading(self) -> str:
        """As the paper calls it."""
        return self.name.replace("fig", "Fig. ")

    def picture(self) -> Picture | None:
        """The picture, where it is made."""
        file = self.folder / f"{self.name}.png"
        if not (self.made and file.is_file()):
            return None
        return Picture(png_uri(file), f"{self.heading}: {self.claim or self.name}")

    def files(self) -> list[str]:
        """Its numbers and its vector picture, relative to the page."""
        names = [f"{self.name}.{kind}" for kind in ("md", "csv", "pdf")]
        return [f"{self.name}/{name}" for name in names if (self.folder / name).is_file()]


def write_figures_page(out: Path, figures: Sequence[Made]) -> Path:
    """Write `index.html` into the folder of all figures."""
    write_text(out / INDEX, figures_page(figures))
    return out / INDEX


def figures_page(figures: Sequence[Made]) -> str:
    """All figures as one page."""
    quick = any("quick=true" in figure.command for figure in figures)
    return render("figures.html", title="The paper's figures", figures=figures, quick=quick)
