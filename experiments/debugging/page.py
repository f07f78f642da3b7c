"""The tables of the page, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from btgm_cli.report.markdown import Row, table

PAIRS = 6
"""Of classes, the commonest."""


def page(rows: Sequence[Row], pairs: Sequence[Row]) -> str:
    """What the runs are, what is said of their draws, of the test images, and between which."""
    frame = pd.DataFrame(rows)
    tuned = frame[frame["draws"] == "tuned"]
    test = frame[frame["draws"] == "test"]
    parts = [runs(tuned), draws(frame[frame["draws"] != "test"]), tests(test)]
    return "\n".join([*parts, borders(pd.DataFrame(pairs))])


def runs(frame: pd.DataFrame) -> str:
    """How far each tilt was reached."""
    body = [
        [
            f"`{row['criterion']}`",
            f"{row['beta']:g}",
            f"{row['kl']:.2f} ({row['kl_ref']:.2f}{'' if row['ref_reliable'] else '?'})",
            f"{row['mean_f']:.3f} ({row['mean_f_ref']:.3f})",
            f"{row['kl_gap']:.3f} ± {row['kl_gap_se']:.3f}",
            f"{row['ess_fraction']:.2f}",
            f"`{row['status']}`",
        ]
        for row in frame.to_dict("records")
    ]
    head = ["criterion", "β", "KL (exact), nats", "E f (exact)", "`kl_gap`, nats"]
    return table([*head, "`ess_fraction`", "verdict"], body)


def draws(frame: pd.DataFrame) -> str:
    """What the classifiers say where there is no label."""
    body = [
        [
            f"`{row['criterion']}`" if row["beta"] else "none",
            f"{row['beta']:g}",
            row["draws"],
            f"{row['entropy']:.3f}",
            f"{row['second']:.3f}",
            *_percents(row, "expected_error", "differ", "least_error", "sure_and_differ"),
        ]
        for row in frame.to_dict("records")
    ]
    head = ["criterion", "β", "draws", "entropy, nats", "second class", "expected error"]
    return table([*head, "others differ", "errs at least", "both sure, and differ"], body)


def tests(frame: pd.DataFrame) -> str:
    """The same of the test images under the tilt, and the errors that they tell."""
    body = [
        [
            f"`{row['criterion']}`" if row["beta"] else "none",
            f"{row['beta']:g}",
            f"{row['effective']:,.0f}",
            *_percents(row, "expected_error", "differ", "least_error"),
            f"{100 * row['error']:.1f} ± {100 * row['error_se']:.1f} %",
            *_percents(row, "error_others"),
        ]
        for row in frame.to_dict("records")
    ]
    head = ["criterion", "β", "effective images", "expected error", "others differ"]
    return table([*head, "errs at least", "errs", "the others err"], body)


def borders(pairs: pd.DataFrame) -> str:
    """The commonest pairs of first and second class."""
    body = []
    for (criterion, beta), group in pairs.groupby(["criterion", "beta"], sort=False):
        best = group.nlargest(PAIRS, "share").to_dict("records")
        found = ", ".join(f"{p['one']}–{p['other']} {100 * p['share']:.0f} %" for p in best)
        body.append([f"`{criterion}`" if beta else "none", f"{beta:g}", found])
    return table(["criterion", "β", "commonest pairs of first and second class"], body)


def _percents(row: Mapping[Any, Any], *names: str) -> list[str]:
    return [f"{100 * row[name]:.1f} %" for name in names]
