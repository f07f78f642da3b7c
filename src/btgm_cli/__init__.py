"""Boltzmann tuning of generative models: favour what you care about, within a KL budget."""

from importlib.metadata import version

from btgm_cli.core import BtgmError, Criterion, GenerativeModel, SettingError, Status, Target
from btgm_cli.flows import Flow, InverseAutoregressive, SplineCoupled
from btgm_cli.loading import load_criterion, load_model, load_run
from btgm_cli.sampling import TunedModel
from btgm_cli.tuning import TuneResult, Tuning, tune
from btgm_cli.verdict import Thresholds

__version__ = version("btgm")

__all__ = [
    "BtgmError",
    "Criterion",
    "Flow",
    "GenerativeModel",
    "InverseAutoregressive",
    "SettingError",
    "SplineCoupled",
    "Status",
    "Target",
    "Thresholds",
    "TuneResult",
    "TunedModel",
    "Tuning",
    "__version__",
    "load_criterion",
    "load_model",
    "load_run",
    "tune",
]
