"""The tables of the page, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from btgm_cli.report.markdown import Row, table


def page(rows: Sequence[Row]) -> str:
    """Accuracy and Fréchet distance of each way and digit, and what the runs were."""
    frame = pd.DataFrame(rows)
    yardstick = frame.assign(way="training images", frechet=frame["frechet_train"])
    beside = pd.concat([yardstick.drop_duplicates("label"), frame])
    parts = [
        by_digit(frame, "accuracy", lambda share: f"{100 * share:.1f} %"),
        by_digit(beside, "frechet", "{:.1f}".format),
        runs(frame[frame["way"] == "tuned"]),
    ]
    return "\n".join(parts)


def by_digit(frame: pd.DataFrame, name: str, text: Callable[[float], str]) -> str:
    """One figure: a row for each digit and one for their mean, a column for each way."""
    ways = list(dict.fromkeys(frame["way"]))
    values = frame.pivot_table(index="label", columns="way", values=name)[ways]
    lines = {**{str(label): row for label, row in values.iterrows()}, "mean": values.mean()}
    body = [[label, *map(text, row)] for label, row in lines.items()]
    return f"{name}:\n\n{table(['digit', *ways], body)}"


def runs(frame: pd.DataFrame) -> str:
    """What each run says of itself."""
    body = [
        [
            str(row["label"]),
            f"{row['beta']:g}",
            f"{row['kl']:.2f} ({row['kl_ref']:.2f})",
            f"{row['kl_gap']:.3f} ± {row['kl_gap_se']:.3f}",
            f"{row['ess_fraction']:.2f}",
            f"{row['seconds']:.0f}",
            f"`{row['status']}`",
        ]
        for row in frame.to_dict("records")
    ]
    head = ["digit", "β", "KL (exact), nats", "`kl_gap`, nats", "`ess_fraction`", "seconds"]
    return table([*head, "verdict"], body)
