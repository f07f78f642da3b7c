"""Built-in criteria: what can be favoured. A plain function x -> (n,) serves as well."""

from btgm_cli.criteria.analytic import Linear, Quadratic
from btgm_cli.criteria.classifier import ClassProbability, Entropy, LogClass, LogOdds, SecondClass
from btgm_cli.criteria.combined import Affine, Normalized, WeightedSum, negated

__all__ = [
    "Affine",
    "ClassProbability",
    "Entropy",
    "Linear",
    "LogClass",
    "LogOdds",
    "Normalized",
    "Quadratic",
    "SecondClass",
    "WeightedSum",
    "negated",
]
