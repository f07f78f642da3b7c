"""A figure's tables in Markdown, ready for its page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def numbers_page(rows: Sequence[Row]) -> str:
    """The table of `numbers.compared`: a part for each tuning; the paper's KL where it has one."""
    return "\n".join(
        _part(tuning, [row for row in rows if row["tuning"] == tuning])
        for tuning in dict.fromkeys(row["tuning"] for row in rows)
    )


def looks_page(rows: Sequence[Row]) -> str:
    """The table of `strokes.looks`."""
    head = ["β", *(f"{label}" for label in range(10)), "stroke, pixels", "Σ pixels"]
    body = [
        [
            f"{row['beta']:g}",
            *(f"{100 * row[f'share_{label}']:.1f} %" for label in range(10)),
            f"{_signed(row['thickness'])} ± {row['thickness_se']:.2f}",
            f"{row['pixel_sum']:.1f} ± {row['pixel_sum_se']:.1f}",
        ]
        for row in rows
    ]
    return f"Of {rows[0]['n']:,} fresh samples at each β:\n\n{table(head, body)}"


def gradients_page(rows: Sequence[Row]) -> str:
    """The table of Fig. 1: norms of the normalized criteria's gradients in z."""
    head = ["criterion", "median", "mean", "99 %", "largest", "the paper's", "plateau"]
    head += ["difficulty"]
    body = [
        [
            f"`{row['criterion']}`",
            *(f"{row[f'norm_{name}']:.2f}" for name in ("median", "mean", "p99", "max")),
            row["norm_max_paper"],
            f"{100 * row['plateau']:.1f} %",
            f"{row['difficulty']:.3g}",
        ]
        for row in rows
    ]
    return table(head, body)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _part(tuning: str, rows: Sequence[Row]) -> str:
    paper = any(math.isfinite(row["kl_paper"]) for row in rows)
    head = ["β", *(["KL in the paper"] if paper else []), "KL (exact), nats", "E f (exact)"]
    head += ["`kl_gap`, nats", "`ess_fraction`"]
    head += ["exact β and E f at the paper's KL"] if paper else []
    body = [_line(row, paper=paper) for row in rows]
    return f"`tuning={tuning}`:\n\n{table([*head, 'verdict'], body)}"


def _line(row: Row, *, paper: bool) -> list[str]:
    doubt = "" if row["ref_reliable"] else "?"
    cells = [f"{row['beta']:g}"]
    cells += [f"{row['kl_paper']:g}"] if paper else []
    cells += [
        f"{_signed(row['kl'])} ({_signed(row['kl_ref'])}{doubt})",
        f"{_signed(row['mean_f'])} ({_signed(row['mean_f_ref'])}{doubt})",
        f"{_signed(row['kl_gap'], 3)} ± {row['kl_gap_se']:.3f}",
        f"{row['ess_fraction']:.2f}",
    ]
    if paper:
        beta, mean = row["beta_at_paper_kl"], row["mean_f_at_paper_kl"]
        known = math.isfinite(beta)
        cells.append(f"{beta:.3g}, {_signed(mean)}" if known else "none on this path")
    return [*cells, f"`{row['status']}`"]


def _signed(value: float, digits: int = 2) -> str:
    """A number with a true minus sign, and none before zero."""
    return f"{value:z.{digits}f}".replace("-", "−")


NAMES = {
    "p": "p",
    "tuned": "tuned",
    "exact": "exact tilt",
    "real": "real",
    "real_tilt": "real, tilted",
}


def weeks_page(rows: Sequence[Row], real_q99: float, missing: str = "") -> str:
    """The tables of `weeks.make`: what was reached, then what the samples look like."""
    head = ["criterion", "C_D", "KL (exact), nats", "E f (exact), kW", "`kl_gap`, nats"]
    head += ["`ess_fraction`", "verdict"]
    by_name = {(row["criterion"], row["who"]): row for row in rows}
    reached = [
        _reached_line(row, by_name.get((row["criterion"], "exact"), {}))
        for row in rows
        if row["who"] == "tuned"
    ]
    looks = ["criterion", "samples of", "f, kW", "weekly peak, kW", "its 99 % quantile, kW"]
    looks += [f"peak above {real_q99:.1f} kW", "energy, kWh", "diversity, kW"]
    body = [
        [
            f"`{row['criterion']}`",
            NAMES[row["who"]],
            _signed(row["f_of_samples"]),
            f"{row['peak_kw']:.1f}",
            f"{row['peak_q99_kw']:.1f}",
            f"{100 * row['above_real_q99']:.1f} %",
            f"{row['energy_kwh']:.0f}",
            f"{row['diversity_kw']:.2f}",
        ]
        for row in rows
    ]
    parts = [
        table(head, reached),
        f"Of {rows[0]['n']:,} fresh samples each. {real_q99:.1f} kW is the 99 % quantile of real "
        "weekly peaks; diversity is the standard deviation across samples, mean over the week. "
        "*Real, tilted* is the exact tilt of the real aggregates to the same KL.\n",
        table(looks, body),
    ]
    return "\n".join([*parts, *([f"{missing}\n"] if missing else [])])


def _reached_line(row: Row, exact: Row) -> list[str]:
    def with_exact(name: str) -> str:
        known = f" ({_signed(exact[name])} ± {exact[f'{name}_se']:.2f})" if exact else ""
        return f"{_signed(row[name])}{known}"

    return [
        f"`{row['criterion']}`",
        f"{row['target_kl']:.2f}",
        with_exact("kl"),
        with_exact("mean_f"),
        f"{_signed(row['kl_gap'], 3)} ± {row['kl_gap_se']:.3f}",
        f"{row['ess_fraction']:.2f}",
        f"`{row['status']}`",
    ]
