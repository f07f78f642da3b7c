"""Inverse autoregressive flow: the paper's family (Kingma et al. 2017; Appendix F)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from pyro.distributions.transforms import AffineAutoregressive
from pyro.nn import AutoRegressiveNN
from torch import nn

from btgm_cli.tuned.flows.base import Flow, check_widths, shrink


class InverseAutoregressive(Flow):
    """Affine autoregressive layers: one pass to sample with density, D passes to invert.

    The default is the paper's: six layers of four fully-connected maps each.

    Args:
        latent_dim: D, at least 2.
        depth: number of layers.
        hidden: widths of the fully-connected layers before the last.
        seed: of the initial weights.

    Examples:
        >>> import torch
        >>> from btgm_cli import InverseAutoregressive
        >>> z0 = torch.linspace(-1, 1, 8).reshape(2, 4)
        >>> z, log_det = InverseAutoregressive(4, depth=2, hidden=[16])(z0)
        >>> torch.allclose(z, z0, atol=0.01), torch.allclose(log_det, torch.zeros(2), atol=0.01)
        (True, True)
    """

    def __init__(
        self,
        latent_dim: int,
        depth: int = 6,
        hidden: Sequence[int] = (128, 128, 128),
        seed: int = 0,
    ) -> None:
        self.hidden, self.depth = check_widths(hidden, latent_dim, depth), depth
        super().__init__(latent_dim, depth, lambda: _layer(latent_dim, self.hidden), seed)

    @property
    def settings(self) -> dict[str, Any]:
        """What builds the same flow again."""
        return {
            "family": "iaf",
            "latent_dim": self.latent_dim,
            "depth": self.depth,
            "hidden": self.hidden,
        }


def _layer(dim: int, hidden: list[int]) -> nn.Module:
    # Widths below D would leave a coordinate unconnected; Pyro refuses them.
    widths = [max(width, dim) for width in hidden]
    order = torch.arange(dim)  # the flow permutes; Pyro's own random order would undo its pairing
    net = AutoRegressiveNN(
        dim, widths, permutation=cast("torch.LongTensor", order), nonlinearity=nn.SiLU()
    )
    shrink(net)
    return AffineAutoregressive(net)
