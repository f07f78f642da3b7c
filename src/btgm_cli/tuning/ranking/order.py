"""The order of criteria, and which one to take, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from btgm_cli.tuning.ranking.steepness import Ranked


def in_order(rows: Sequence[Ranked]) -> list[Ranked]:
    """The easiest first, those that cannot be compared last.

    The difficulty is a mean of squares under a heavy tail, and so is known to some 20 % only. One
    that is within the error of another, and has less than half of its plateau, comes before it.
    """
    order: list[Ranked] = []
    known = [row for row in rows if not math.isnan(row.difficulty)]
    for row in sorted(known, key=lambda row: row.difficulty):
        place = len(order)
        while place and _is_smoother(row, order[place - 1]):
            place -= 1
        order.insert(place, row)
    return [*order, *(row for row in rows if math.isnan(row.difficulty))]


def _is_smoother(one: Ranked, other: Ranked) -> bool:
    """Are the two within the error, and does `one` have less than half of the plateau?"""
    return _within_error(one, other) and one.plateau < other.plateau / 2


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
        if _is_smoother(best, second):
            text += " (within the error; the smaller plateau decides)"
        elif _within_error(best, second):
            text += " (within the error: raise n to tell them apart)"
        flat += f" (against {second.plateau:.0%})"
        tail += f" (against {ratio_text(second)})"
    return f"{text}; {flat}, and {tail}."


def difficulty_text(row: Ranked) -> str:
    """The difficulty as a sentence or a table has it."""
    return f"{row.difficulty:.3g} ± {row.difficulty_se:.2g}"


def ratio_text(row: Ranked) -> str:
    """The tail ratio, likewise."""
    return f"{row.tail_ratio:,.0f}" if row.tail_ratio >= 100 else f"{row.tail_ratio:.2g}"
