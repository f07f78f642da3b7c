"""Coupling flow of rational splines: cheap in both directions (Dolatabadi et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions.transforms import SplineCoupling
from pyro.nn import DenseNN
from torch import nn

from btgm_cli.core.errors import SettingError
from btgm_cli.tuned.flows.base import Flow, check_widths, shrink

UNIT_SLOPE = math.log(math.expm1(1.0 - 1e-3))
"""Softplus of this plus Pyro's smallest derivative (1e-3) is slope 1: the identity spline."""

MOST_BINS = 1000
"""Pyro gives each bin 1e-3 of the width at least."""


class SplineCoupled(Flow):
    """Half of the coordinates move along splines that the other half determines.

    Args:
        latent_dim: D, at least 2.
        depth: number of layers.
        hidden: widths of the conditioning network.
        bins: segments of each spline.
        bound: splines act on [−bound, bound]; outside they are the identity.
        seed: of the initial weights.

    Examples:
        >>> import torch
        >>> from btgm_cli import SplineCoupled
        >>> flow = SplineCoupled(2, depth=2, hidden=[16], bound=3.0)
        >>> z, log_det = flow(torch.tensor([[4.0, -5.0]]))  # beyond the bound
        >>> z.tolist(), log_det.item()
        ([[4.0, -5.0]], 0.0)
    """

    def __init__(
        self,
        latent_dim: int,
        depth: int = 6,
        hidden: Sequence[int] = (128, 128),
        bins: int = 8,
        bound: float = 5.0,
        seed: int = 0,
    ) -> None:
        if isinstance(bins, bool) or not isinstance(bins, int) or not 2 <= bins <= MOST_BINS:
            raise SettingError("flow.bins", bins, f"must be a whole number from 2 to {MOST_BINS}")
        if not 0 < bound < math.inf:
            raise SettingError("flow.bound", bound, "must be positive and finite")
        self.hidden = check_widths(hidden, latent_dim, depth, 4 * bins)
        self.depth, self.bins, self.bound = depth, bins, bound
        super().__init__(latent_dim, depth, self._layer_for(latent_dim), seed)

    @property
    def settings(self) -> dict[str, Any]:
        """What builds the same flow again."""
        return {
            "family": "spline_coupling",
            "latent_dim": self.latent_dim,
            "depth": self.depth,
            "hidden": self.hidden,
            "bins": self.bins,
            "bound": self.bound,
        }

    def _layer_for(self, dim: int) -> Any:
        fixed = dim // 2
        moved, bins = dim - fixed, self.bins

        def layer() -> nn.Module:
            sizes = [moved * bins, moved * bins, moved * (bins - 1), moved * bins]
            net = DenseNN(fixed, self.hidden, param_dims=sizes, nonlinearity=nn.SiLU())
            last = shrink(net)
            slopes = slice(2 * moved * bins, 2 * moved * bins + moved * (bins - 1))
            with torch.no_grad():
                last.bias[slopes] = UNIT_SLOPE
            return SplineCoupling(dim, fixed, net, bins, self.bound, identity=True)

        return layer
