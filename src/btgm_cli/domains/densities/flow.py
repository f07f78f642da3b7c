"""A coupling flow in instance space: a density that is cheap both ways."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from btgm_cli.core.errors import SettingError
from btgm_cli.core.prior import StandardNormal, standard_normal_log_prob
from btgm_cli.store.checkpoints import StoredNetwork, load_network
from btgm_cli.tuned.flows import SplineCoupled


class DensityFlow(StoredNetwork):
    """x = mean + L T(z), T a rational-spline coupling flow and L a triangular scale.

    Args:
        latent_dim: D, of x and of z.
        depth: coupling layers.
        hidden: width of the two layers of each conditioning network.
        bins: segments of each spline.
        bound: splines act on [−bound, bound] of the scaled coordinates.
        seed: of the initial weights.
    """

    family: ClassVar[str] = "density_flow"
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        latent_dim: int,
        depth: int = 4,
        hidden: int = 64,
        bins: int = 16,
        bound: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.architecture = {
            "latent_dim": latent_dim,
            "depth": depth,
            "hidden": hidden,
            "bins": bins,
            "bound": bound,
        }
        self.latent_dim = latent_dim
        with torch.device("cpu"):  # Pyro cannot build a network on "meta", as loading would
            self.flow = SplineCoupled(latent_dim, depth, [hidden, hidden], bins, bound, seed)
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("scale", torch.eye(latent_dim))

    def set_scale(self, x: Tensor) -> None:
        """Take mean and covariance from configurations x (n, D).

        Raises:
            SettingError: they lie in a plane of fewer dimensions.
        """
        double = x.double()
        factor, fault = torch.linalg.cholesky_ex(torch.cov(double.T))
        if fault or factor.diagonal().min() < 1e-6 * factor.diagonal().max():
            expected = "its configurations lie in fewer dimensions than they have coordinates"
            raise SettingError("data", tuple(x.shape), expected)
        self.mean.copy_(double.mean(0))
        self.scale.copy_(factor)

    def forward(self, z: Tensor) -> Tensor:
        """x of shape (n, D) for z of shape (n, D)."""
        scaled, _ = self.flow(z)
        x: Tensor = self.mean + scaled @ self.scale.T
        return x

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z of shape (n, D) and log|det ∂x/∂z| there, shape (n,), for x of shape (n, D)."""
        away = (x - self.mean).T
        scaled: Tensor = torch.linalg.solve_triangular(self.scale, away, upper=False)
        z, log_det = self.flow.inverse(scaled.T)
        return z, log_det + self.scale.diagonal().log().sum()

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, shape (n,): −J_ML of the lecture for each x, with its ½."""
        z, log_det = self.encode(x)
        return standard_normal_log_prob(z) - log_det


class FlowModel(StandardNormal, nn.Module):
    """A frozen density flow with its prior N(0, I): an `ExplicitDensity`.

    Args:
        network: the flow to freeze.
    """

    def __init__(self, network: DensityFlow) -> None:
        super().__init__(network.latent_dim)
        self.network = network.eval().requires_grad_(False)

    def decode(self, z: Tensor) -> Tensor:
        """x of shape (n, D) for z of shape (n, D), differentiable in z."""
        x: Tensor = self.network(z)
        return x

    def encode(self, x: Tensor) -> Tensor:
        """z of shape (n, D) for x of shape (n, D), differentiable in x."""
        return self.network.encode(x)[0]

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, shape (n,), for x of shape (n, D)."""
        return self.network.log_prob(x)


def load_flow_model(checkpoint: str) -> FlowModel:
    """The flow that `btgm train model=flow data=FILE` left.

    Raises:
        SettingError: no such checkpoint, or not one of a density flow.
    """
    return FlowModel(load_network(DensityFlow, checkpoint, "model.checkpoint"))
