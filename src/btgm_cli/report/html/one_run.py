"""The page of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from btgm_cli.report.html.charts import run_front, run_theory
from btgm_cli.report.html.embedding import png_uri
from btgm_cli.report.html.grids import shots
from btgm_cli.report.html.pages import PAGE, Picture, chart, render
from btgm_cli.report.html.words import WAYS, changes, command, number, with_error
from btgm_cli.report.markdown import signed
from btgm_cli.report.style import column
from btgm_cli.report.views import PICTURE as VIEWS_PICTURE
from btgm_cli.store.files import write_text
from btgm_cli.store.manifest import Manifest
from btgm_cli.store.runs import Run

DRAWS = 64
"""At each β."""


def write_run_page(
    run: Run,
    manifest: Manifest | None,
    left_out: Sequence[str] = (),
    further: Sequence[Path] = (),
) -> Path:
    """Write `report.html` into the directory of a run; arguments as of `run_page`."""
    write_text(run.path / PAGE, run_page(run, manifest, left_out, further))
    return run.path / PAGE


def run_page(
    run: Run,
    manifest: Manifest | None,
    left_out: Sequence[str] = (),
    further: Sequence[Path] = (),
) -> str:
    """A run as a page: verdicts, fronts, draws, costs, and how it was made.

    Args:
        run: what is whole of it.
        manifest: what it belongs to; None where that is damaged.
        left_out: what is not whole, a line each.
        further: other pictures that the run left, PNG.
    """
    summary, pictures = run.summary, [file for file in further if file.suffix == ".png"]
    pictures += [file for file in (run.path / VIEWS_PICTURE,) if file.is_file()]
    model, criterion = (_word(summary, name, manifest) for name in ("model", "criterion"))
    return render(
        "run.html",
        title=f"{model} towards {criterion}",
        summary=summary,
        status=str(summary.get("status", "unfinished")),
        changes=changes(str(summary.get("remedy", "")), manifest) if manifest else [],
        rows=rows_of(run),
        left_out=left_out,
        charts=_charts(run),
        shots=shots(run, DRAWS),
        costs=costs_of(run),
        further=[Picture(png_uri(file), file.stem.replace("_", " ")) for file in pictures],
        command=command(manifest) if manifest else "",
        settings=settings_of(manifest) if manifest else [],
        checkpoints=manifest.checkpoints if manifest else {},
    )


def rows_of(run: Run) -> list[dict[str, Any]]:
    """What the table of β tells, as text."""
    names = ("mean_f", "mean_f_ref", "kl", "kl_ref", "kl_gap")
    told = []
    for row in run.pareto.to_dict("records"):
        cells = {name: with_error(_of(row, name), _of(row, f"{name}_se")) for name in names}
        cells |= {"beta": f"{_of(row, 'beta'):.4g}", "pareto_k": signed(_of(row, "pareto_k"))}
        cells |= {name: f"{_of(row, name):.2f}" for name in ("ess_fraction", "coverage")}
        reliable = str(row.get("ref_reliable")) == "True"
        words = {"status": str(row["status"]), "reason": _text(row.get("reason"))}
        raised = _text(row.get("to_raise")).split()
        told.append(cells | words | {"reliable": reliable, "to_raise": raised})
    return told


def costs_of(run: Run) -> list[dict[str, str]]:
    """The rows of `cost.csv`, as text."""
    return [
        {
            "method": WAYS.get(str(row["method"]), str(row["method"])),
            "beta": f"{row['beta']:.4g}",
            "each": number(float(row["each"])),
            "fixed": f"{row['fixed']:,.0f}",
            "pays_from": _from(str(row["method"]), float(row["pays_from"])),
        }
        for row in run.cost.to_dict("records")
    ]


def settings_of(manifest: Manifest) -> list[tuple[str, str]]:
    """Each setting by its dotted name."""

    def leaves(node: Any, name: str) -> list[tuple[str, str]]:
        if isinstance(node, dict) and node:
            return [leaf for key, one in node.items() for leaf in leaves(one, f"{name}.{key}")]
        return [(name[1:], str(node))]

    return leaves(manifest.settings, "")


def _charts(run: Run) -> list[Picture]:
    last = {name: column(run.pareto, name)[-1] for name in ("beta", "kl", "mean_f", "kl_ref")}
    last |= {"mean_f_ref": column(run.pareto, "mean_f_ref")[-1]}
    words = {name: number(float(value)) for name, value in last.items()}
    at = (
        f"at β = {words['beta']} the tuned model has KL {words['kl']} nats and "
        f"E f {words['mean_f']}, the exact tilt {words['kl_ref']} and {words['mean_f_ref']}"
    )
    front = "The reference is the most that any model can reach for its divergence."
    return [
        chart(run_front(run), f"E f against KL(q‖p): {at}.", front),
        chart(run_theory(run, "mean_f"), f"E f against β: {at}."),
        chart(run_theory(run, "kl"), f"KL(q‖p) in nats against β: {at}."),
    ]


def _from(method: str, pays_from: float) -> str:
    if method == "rejection":
        return ""
    text = number(pays_from)
    return "never" if text in ("∞", "–") else f"{pays_from:,.0f} draws"


def _word(summary: dict[str, Any], name: str, manifest: Manifest | None) -> str:
    return str(getattr(manifest, name, "?") if manifest else summary.get(name, "?"))


def _of(row: dict[Any, Any], name: str) -> float:
    return float(row.get(name, float("nan")))


def _text(cell: Any) -> str:
    """A cell of words; pandas reads an empty one as NaN."""
    return cell if isinstance(cell, str) else ""
