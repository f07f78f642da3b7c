"""A figure's tables in Markdown, ready for its page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from btgm_cli.report.markdown import signed, table

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
            f"{signed(row['thickness'])} ± {row['thickness_se']:.2f}",
            f"{row['pixel_sum']:.1f} ± {row['pixel_sum_se']:.1f}",
        ]
        for row in rows
    ]
    return f"Of {rows[0]['n']:,} fresh samples at each β:\n\n{table(head, body)}"


def shares_page(rows: Sequence[Row]) -> str:
    """The table of `numbers.class_shares`; in brackets the exact tilt's."""
    head = ["tuning", "β", *(f"{label}" for label in range(10))]
    body = [
        [
            f"`{row['tuning']}`",
            f"{row['beta']:g}",
            *(
                f"{100 * row[f'share_{label}']:.1f} ({100 * row[f'share_ref_{label}']:.1f}"
                + ("" if row["ref_reliable"] else "?")
                + ")"
                for label in range(10)
            ),
        ]
        for row in rows
    ]
    return f"Digits under the tuned model (and under the exact tilt), %:\n\n{table(head, body)}"


def slopes_page(row: Row) -> str:
    """The table of Fig. 11: norms of the gradient of one discriminator's logit in z."""
    head = ["", "median", "90 %", "99 %", "largest", "share within 10", "share above 20"]
    ours = [f"{row[f'norm_{name}']:.1f}" for name in ("q50", "q90", "q99", "max")]
    ours += [f"{100 * row['share_within_10']:.1f} %", f"{100 * row['share_above_20']:.2f} %"]
    paper = ["", "", "", row["norm_max_paper"], "most", "about 1 %"]
    heading = f"Of {row['n']:,} draws of p:"
    return f"{heading}\n\n{table(head, [['measured', *ours], ['the paper', *paper]])}"


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
    cells += [f"{row['kl_paper']:g}" if math.isfinite(row["kl_paper"]) else ""] if paper else []
    cells += [
        f"{signed(row['kl'])} ({signed(row['kl_ref'])}{doubt})",
        f"{signed(row['mean_f'])} ({signed(row['mean_f_ref'])}{doubt})",
        f"{signed(row['kl_gap'], 3)} ± {row['kl_gap_se']:.3f}",
        f"{row['ess_fraction']:.2f}",
    ]
    if paper:
        beta, mean = row["beta_at_paper_kl"], row["mean_f_at_paper_kl"]
        known = math.isfinite(beta)
        unknown = "none on this path" if math.isfinite(row["kl_paper"]) else ""
        cells.append(f"{beta:.3g}, {signed(mean)}" if known else unknown)
    return [*cells, f"`{row['status']}`"]
