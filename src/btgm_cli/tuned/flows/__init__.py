"""Normalizing flows on the latent space; the only place that knows Pyro."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from btgm_cli.core.results import State
from btgm_cli.tuned.flows.base import Flow, read_flow_file, save_flow
from btgm_cli.tuned.flows.iaf import InverseAutoregressive
from btgm_cli.tuned.flows.spline_coupling import SplineCoupled

__all__ = [
    "Flow",
    "InverseAutoregressive",
    "SplineCoupled",
    "build_flow",
    "load_flow",
    "save_flow",
]


def load_flow(path: Path) -> Flow:
    """Build the flow that `save_flow` wrote.

    Raises:
        SettingError: the file is missing or is no flow.
    """
    return build_flow(*read_flow_file(path))


def build_flow(settings: Mapping[str, Any], state: State) -> Flow:
    """A flow of its own with the `settings` and the weights of another."""
    arguments = dict(settings)
    families = {"iaf": InverseAutoregressive, "spline_coupling": SplineCoupled}
    flow: Flow = families[arguments.pop("family")](**arguments)
    flow.restore(state)
    return flow
