"""Built-in criteria: what can be favoured. A plain function x -> (n,) serves as well."""

from btgm_cli.criteria.analytic import Linear, Quadratic
from btgm_cli.criteria.classifier import ClassProbability, Entropy, LogClass, LogOdds, SecondClass

__all__ = [
    "ClassProbability",
    "Entropy",
    "Linear",
    "LogClass",
    "LogOdds",
    "Quadratic",
    "SecondClass",
]
