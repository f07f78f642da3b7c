"""A flow on the latent space: a chain of Pyro transforms, the identity at the start."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from btgm_cli.core.errors import SettingError
from btgm_cli.core.memory import require_memory
from btgm_cli.core.results import State
from btgm_cli.core.seeds import derived_generator, derived_seed

COPIES = 5
"""Of each weight in training: itself, its gradient, two moments, its mean."""


class Flow(nn.Module):
    """z = T(z₀), each layer a Pyro transform acting on its own permutation of the coordinates.

    After the layers comes an affine map, the identity unless `place` has set it; no training moves
    it. Subclasses build one layer; its last linear map must start so small that the layer is the
    identity, as §3.1 asks ("setting g very close to identity").

    Args:
        latent_dim: D, at least 2.
        depth: number of layers.
        seed: of the initial weights and of the permutations.

    Examples:
        >>> import torch
        >>> from btgm_cli import Flow, SplineCoupled
        >>> flow: Flow = SplineCoupled(4, depth=2, hidden=[16])
        >>> z0 = torch.linspace(-1, 1, 8).reshape(2, 4)
        >>> z, log_det = flow(z0)
        >>> z.shape, log_det.shape
        (torch.Size([2, 4]), torch.Size([2]))
        >>> back, same_log_det = flow.inverse(z)
        >>> torch.allclose(back, z0, atol=1e-4), torch.allclose(same_log_det, log_det, atol=1e-4)
        (True, True)
    """

    def __init__(
        self, latent_dim: int, depth: int, layer: Callable[[], nn.Module], seed: int
    ) -> None:
        super().__init__()
        _check_whole(latent_dim, depth)
        self.latent_dim = latent_dim
        with torch.random.fork_rng(devices=[]):  # Pyro's modules draw from the global generator
            torch.manual_seed(derived_seed(seed, "flow"))
            self.layers = nn.ModuleList([layer() for _ in range(depth)])
        orders = _permutations(latent_dim, depth, derived_generator(seed, "permutations"))
        self.register_buffer("orders", orders)
        self.register_buffer("inverse_orders", orders.argsort(-1))
        self.register_buffer("center", torch.zeros(latent_dim))
        self.register_buffer("factor", torch.eye(latent_dim))
        self.orders: Tensor
        self.inverse_orders: Tensor
        self.center: Tensor
        self.factor: Tensor

    def place(self, center: Tensor, factor: Tensor) -> None:
        """Have the layers act in coordinates y in which z is `center` + `factor` y.

        Args:
            center: shape (D,).
            factor: lower triangular with a positive diagonal, shape (D, D).
        """
        self.center.copy_(center)
        self.factor.copy_(factor)

    @property
    def is_placed(self) -> bool:
        """Is the affine map another than the identity?"""
        start = torch.eye(self.latent_dim).to(self.factor)
        return not torch.equal(self.factor, start) or bool(self.center.any())

    def forward(self, z0: Tensor) -> tuple[Tensor, Tensor]:
        """z of shape (n, D) and log|det ∂z/∂z₀| of shape (n,), for z₀ of shape (n, D)."""
        z, log_det = z0, z0.new_zeros(z0.shape[0])
        for layer, order, back in self._steps():
            before = z[:, order]
            after = layer(before)
            log_det = log_det + layer.log_abs_det_jacobian(before, after)
            forget(layer)
            z = after[:, back]
        return self.center + z @ self.factor.T, log_det + self._log_volume

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z₀ of shape (n, D) and log|det ∂z/∂z₀| at z₀, for z of shape (n, D).

        An autoregressive layer needs D passes for this, a coupling layer one.
        """
        log_det = z.new_zeros(z.shape[0]) + self._log_volume
        z = torch.linalg.solve_triangular(self.factor, (z - self.center).T, upper=False).T
        for layer, order, back in reversed(self._steps()):
            after = z[:, order]
            before = layer.inv(after)
            log_det = log_det + layer.log_abs_det_jacobian(before, after)
            forget(layer)
            z = before[:, back]
        return z, log_det

    @property
    def _log_volume(self) -> Tensor:
        """Log determinant of the affine map."""
        return self.factor.diagonal().log().sum()

    def _steps(self) -> list[tuple[Any, Tensor, Tensor]]:
        """Each layer with the order that it acts on and the way back."""
        return list(zip(self.layers, self.orders, self.inverse_orders, strict=True))

    @property
    def settings(self) -> dict[str, Any]:
        """What builds the same flow again: its family and arguments."""
        raise NotImplementedError

    def snapshot(self) -> State:
        """A detached copy of the weights, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}

    def restore(self, state: State) -> None:
        """Take weights that `snapshot` took; those of an earlier version have no place."""
        dim = self.latent_dim
        self.load_state_dict({"center": torch.zeros(dim), "factor": torch.eye(dim)} | state)


def check_widths(
    hidden: Sequence[int] | str, latent_dim: int, depth: int, each: int = 2
) -> list[int]:
    """Hidden widths as a list.

    Args:
        hidden: of each layer's network.
        latent_dim: D.
        depth: number of layers.
        each: what a network gives for each coordinate.

    Raises:
        SettingError: no widths, or more weights than memory can hold.
    """
    widths = list(hidden) if isinstance(hidden, Sequence) and not isinstance(hidden, str) else []
    if not widths or not all(type(w) is int and w > 0 for w in widths):
        raise SettingError("flow.hidden", hidden, "must be a list of positive whole numbers")
    _check_whole(latent_dim, depth)
    layers = [latent_dim, *(max(width, latent_dim) for width in widths), each * latent_dim]
    weights = sum(before * after for before, after in pairwise(layers))
    sizes = {"latent_dim": latent_dim, "flow.depth": depth, "flow.hidden": max(widths)}
    name = max(sizes, key=lambda key: sizes[key])
    require_memory(name, sizes[name], COPIES * depth * weights)
    return widths


def _check_whole(latent_dim: int, depth: int) -> None:
    """Refuse sizes of a flow that are none."""
    for name, value, least in (("latent_dim", latent_dim, 2), ("flow.depth", depth, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SettingError(name, value, f"must be a whole number, {least} or more")


def forget(layer: nn.Module) -> None:
    """Drop what a Pyro transform cached: stale values, and a graph that cannot be copied."""
    for module in layer.modules():
        for name in ("_cached_log_scale", "_cache_log_detJ"):
            if hasattr(module, name):
                setattr(module, name, None)
        if hasattr(module, "_cached_x_y"):
            vars(module)["_cached_x_y"] = (None, None)


def save_flow(path: Path, settings: dict[str, Any], state: State) -> None:
    """Write a flow's weights and settings as one safetensors file."""
    save_file(state, path, metadata={"flow": json.dumps(settings)})


def read_flow_file(path: Path) -> tuple[dict[str, Any], State]:
    """Settings and weights that `save_flow` wrote.

    Raises:
        SettingError: the file is missing or is no flow.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            settings = json.loads((opened.metadata() or {})["flow"])
            return settings, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise SettingError("flow file", str(path), f"is not a saved flow ({error})") from error


def shrink(net: nn.Module, factor: float = 1e-3) -> nn.Linear:
    """Scale a network's last linear map so that the transform starts near the identity."""
    last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(factor)
        last.bias.zero_()
    return last


def _permutations(dim: int, depth: int, generator: torch.Generator) -> Tensor:
    """Orders of the coordinates, shape (depth, D): random, each second the reverse of the first.

    A layer and its reverse together let every coordinate depend on every other.
    """
    orders: Sequence[Tensor] = []
    for k in range(depth):
        previous = orders[-1] if k % 2 else torch.randperm(dim, generator=generator).flip(0)
        orders = [*orders, previous.flip(0)]
    return torch.stack(list(orders))
