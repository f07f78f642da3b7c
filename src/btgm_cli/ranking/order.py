"""The order of criteria, and which one to take, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cmp_to_key

from btgm_cli.ranking.steepness import Ranked


def in_order(rows: Sequence[Ranked]) -> list[Ranked]:
    """The easiest first, those that cannot be compared last.

    The difficulty is a mean of squares under a heavy tail, and so is known to some 20 % only.
    Where two are within their error, the smaller plateau, which is known well, comes first.
    """
    known = [row for row in rows if not math.isnan(row.difficulty)]
    known.sort(key=lambda row: row.difficulty)
    lost = [row for row in rows if math.isnan(row.difficulty)]
    return [*sorted(known, key=cmp_to_key(_compare)), *lost]


def _compare(one: Ranked, other: Ranked) -> int:
    """Negative where `one` is easier."""
    by = "plateau" if _within_error(one, other) else "difficulty"
    return -1 if getattr(one, by) < getattr(other, by) else 1


def _within_error(one: Ranked, other: Ranked) -> bool:
    error = math.hypot(one.difficulty_se, other.difficulty_se)
    return abs(one.difficulty - other.difficulty) < 2 * error


def recommend(rows: Sequence[Ranked]) -> str:
    """Which of `rows`, in order, to take and why, and what does not compare, in a few words."""
    compared = [row for row in rows if not math.isnan(row.difficulty)]
    sentences = [_reason(compared)] if compared else []
    for remark in dict.fromkeys(row.remark for row in rows if row.remark):
        names = ", ".join(row.criterion for row in rows if row.remark == remark)
        sentences.append(f"{names}: {remark}.")
    return " ".join(sentences)


def _reason(rows: Sequence[Ranked]) -> str:
    """Why the first of `rows`, all comparable, comes first."""
    best = rows[0]
    text = f"{best.criterion} comes first: difficulty {difficulty_text(best)}"
    text += f" at KL = {best.kl_compared:.3g}"
    flat = f"{best.plateau:.0%} of the draws of p lie on a plateau"
    tail = f"the 99th percentile of the slope is {ratio_text(best)} times its median"
    if len(rows) > 1:
        second = rows[1]
        text += f", against {difficulty_text(second)} for {second.criterion}"
        if _within_error(best, second):
            text += " (within the error; the smaller plateau decides)"
        flat += f" (against {second.plateau:.0%})"
        tail += f" (against {ratio_text(second)})"
    return f"{text}; {flat}, and {tail}."


def difficulty_text(row: Ranked) -> str:
    """The difficulty as a sentence or a table has it."""
    return f"{row.difficulty:.3g} ± {row.difficulty_se:.2g}"


def ratio_text(row: Ranked) -> str:
    """The tail ratio, likewise."""
    return f"{row.tail_ratio:,.0f}" if row.tail_ratio >= 100 else f"{row.tail_ratio:.2g}"
