"""Training of q̂ and Algorithm 1."""

from btgm_cli.tuning.algorithm import TuneResult, tune
from btgm_cli.tuning.settings import Gradient, Tuning

__all__ = ["Gradient", "TuneResult", "Tuning", "tune"]
