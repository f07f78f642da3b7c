"""Training of q̂ and Algorithm 1."""

from btgm_cli.tuning.algorithm import TuneResult, solve, tune
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.settings import Gradient, Tuning

__all__ = ["Gradient", "Problem", "TuneResult", "Tuning", "solve", "tune"]
