"""Figs. 3 to 7: what is measured on their runs and written into their folder."""

from __future__ import annotations

from pathlib import Path

from btgm_cli.cli.loading import LoadedRun
from btgm_cli.domains.digits.figures import pictures
from btgm_cli.domains.digits.figures.numbers import compared
from btgm_cli.domains.digits.figures.pages import looks_page, numbers_page
from btgm_cli.domains.digits.figures.recipes import Recipe
from btgm_cli.domains.digits.figures.strokes import looks
from btgm_cli.report import save
from btgm_cli.store.files import write_text
from btgm_cli.store.runs import write_table


def make(recipe: Recipe, runs: dict[str, LoadedRun], out: Path, draws: int) -> list[Path]:
    """Write the tables, the page's and the pictures of a figure.

    Args:
        recipe: which figure.
        runs: its finished runs, by tuning.
        out: the folder.
        draws: fresh samples at each β behind the class shares.

    Returns:
        What was written, pictures last.
    """
    tables = {recipe.name: compared(recipe, {name: run.run for name, run in runs.items()})}
    page = numbers_page(tables[recipe.name])
    if recipe.kl:
        tables["shares"] = looks(runs["default"], draws)
        page += "\n" + looks_page(tables["shares"])
    for name, rows in tables.items():
        write_table(out / f"{name}.csv", rows)
    text = out / f"{recipe.name}.md"
    write_text(text, page)
    return [*(out / f"{name}.csv" for name in tables), text, *_draw(recipe, runs, out)]


def _draw(recipe: Recipe, runs: dict[str, LoadedRun], out: Path) -> list[Path]:
    if recipe.kl:
        figure = pictures.front_and_grid(runs["default"].run)
    else:
        figure = pictures.against_beta({name: run.run for name, run in runs.items()})
    return [save(figure, out / f"{recipe.name}.{kind}") for kind in ("png", "pdf")]
