"""Boltzmann tuning of generative models: favour what you care about, within a KL budget.

All that Python code needs is here. A name is imported when it is first asked for, so that
`btgm --help` waits for neither torch nor Pyro.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from btgm_cli.cli.loading import load_criterion, load_model, load_run
    from btgm_cli.core.contracts import Criterion, GenerativeModel
    from btgm_cli.core.errors import BtgmError, SettingError
    from btgm_cli.core.prior import StandardNormal
    from btgm_cli.core.results import Status
    from btgm_cli.core.target import Target
    from btgm_cli.truth.audit_verdict import Audit
    from btgm_cli.truth.verdict import Thresholds
    from btgm_cli.tuned.flows import Flow, InverseAutoregressive, SplineCoupled
    from btgm_cli.tuned.model import TunedModel
    from btgm_cli.tuning import TuneResult, Tuning, tune
    from btgm_cli.tuning.audit import audit

    __version__: str

__all__ = [
    "Audit",
    "BtgmError",
    "Criterion",
    "Flow",
    "GenerativeModel",
    "InverseAutoregressive",
    "SettingError",
    "SplineCoupled",
    "StandardNormal",
    "Status",
    "Target",
    "Thresholds",
    "TuneResult",
    "TunedModel",
    "Tuning",
    "__version__",
    "audit",
    "load_criterion",
    "load_model",
    "load_run",
    "tune",
]

_HOMES = {
    "cli.loading": ("load_criterion", "load_model", "load_run"),
    "core.contracts": ("Criterion", "GenerativeModel"),
    "core.errors": ("BtgmError", "SettingError"),
    "core.prior": ("StandardNormal",),
    "core.results": ("Status",),
    "core.target": ("Target",),
    "truth.audit_verdict": ("Audit",),
    "truth.verdict": ("Thresholds",),
    "tuned.flows": ("Flow", "InverseAutoregressive", "SplineCoupled"),
    "tuned.model": ("TunedModel",),
    "tuning": ("TuneResult", "Tuning", "tune"),
    "tuning.audit": ("audit",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for (PEP 562)."""
    if name == "__version__":
        return import_module("importlib.metadata").version("btgm")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return __all__
