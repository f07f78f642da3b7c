"""Which criterion is easiest to tune towards, from draws of p alone (§4.2)."""

from btgm_cli.tuning.ranking.order import difficulty_text, in_order, ratio_text, recommend
from btgm_cli.tuning.ranking.steepness import (
    BUDGETS,
    GRID,
    LEAST_DRAWS,
    Look,
    Ranked,
    look,
    rank,
    values,
    walk,
)

__all__ = [
    "BUDGETS",
    "GRID",
    "LEAST_DRAWS",
    "Look",
    "Ranked",
    "difficulty_text",
    "in_order",
    "look",
    "rank",
    "ratio_text",
    "recommend",
    "values",
    "walk",
]
