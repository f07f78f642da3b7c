"""Normalizing flows on the latent space; the only place that knows Pyro."""

from pathlib import Path

from btgm_cli.tuned.flows.base import Flow, read_flow_file, save_flow
from btgm_cli.tuned.flows.iaf import InverseAutoregressive
from btgm_cli.tuned.flows.spline_coupling import SplineCoupled

__all__ = ["Flow", "InverseAutoregressive", "SplineCoupled", "load_flow", "save_flow"]


def load_flow(path: Path) -> Flow:
    """Build the flow that `save_flow` wrote.

    Raises:
        SettingError: the file is missing or is no flow.
    """
    settings, state = read_flow_file(path)
    families = {"iaf": InverseAutoregressive, "spline_coupling": SplineCoupled}
    flow: Flow = families[settings.pop("family")](**settings)
    flow.load_state_dict(state)
    return flow
