"""A VAE of weekly load curves with a standard normal prior."""

from __future__ import annotations

import json

import torch
from torch import Tensor, nn

from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import CHUNK
from btgm_cli.core.prior import StandardNormal
from btgm_cli.domains.load.network import VaeNetwork
from btgm_cli.domains.load.weekly import aggregates_at_hand
from btgm_cli.store.checkpoints import find_checkpoint, load_network

MEAN = "mean"
SAMPLE = "sample"


class Vae(StandardNormal, nn.Module):
    """A frozen VAE that decodes to the mean curve: a `core.contracts.GenerativeModel`.

    Args:
        network: The network to freeze.
        households: How many a curve is of; None where nobody knows.
    """

    def __init__(self, network: VaeNetwork, households: int | None = None) -> None:
        super().__init__(network.latent_dim)
        self.network = network.eval().requires_grad_(False)
        self.households = households

    def data_draws(self, n: int, generator: torch.Generator) -> Tensor | None:
        """Draw n real aggregates, kW, shape (n, points); None where the data are not at hand."""
        real = aggregates_at_hand(self.households) if self.households else None
        if real is None:
            return None
        return torch.cat([real.draw(min(CHUNK, n - at), generator) for at in range(0, n, CHUNK)])

    def decode(self, z: Tensor) -> Tensor:
        """E x given z, kW, shape (n, points), for z of shape (n, D), differentiable in z."""
        return self.network.mean_kw(*self.network.curves(z))


class StochasticVae(Vae):
    """A frozen VAE whose curves given z are random: also a `core.contracts.StochasticDecoder`."""

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n noises of unit variance, correlated in time, shape (n, points)."""
        shape, dtype = (n, self.network.points), self.network.centre.dtype
        white = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
        return self.network.correlate(white)

    def decode_with(self, z: Tensor, noise: Tensor) -> Tensor:
        """Curves x ~ p(x | z), kW, shape (n, points), differentiable in z.

        Args:
            z: Latent points (n, D).
            noise: From `noise`, shape (n, points), or (k, 1, points) for k curves of each z at
                the cost of one: shape (k, n, points).
        """
        mean, scale = self.network.curves(z)
        return self.network.to_kw(mean + scale * noise)


DECODERS = {MEAN: Vae, SAMPLE: StochasticVae}


def load_vae(checkpoint: str = "vae_energy", decode: str = SAMPLE) -> Vae:
    """The VAE of a packaged checkpoint, or of the path of a `.safetensors` or `.pt` file.

    Args:
        checkpoint: What to load.
        decode: `sample` draws curves given z, a `StochasticVae`; `mean` has one for each z, far
            smoother than a real one.

    Raises:
        SettingError: No such checkpoint, or not one of a VAE; no such way to decode.
    """
    if decode not in DECODERS:
        raise SettingError("model.decode", decode, f"choose one of {', '.join(DECODERS)}")
    network = load_network(VaeNetwork, checkpoint, "model.checkpoint")
    return DECODERS[decode](network, _households(checkpoint))


def _households(checkpoint: str) -> int | None:
    """Whom a curve is of, as the checkpoint's card tells."""
    card = find_checkpoint(checkpoint).with_suffix(".json")
    settings = json.loads(card.read_text(encoding="utf-8"))["settings"] if card.is_file() else {}
    households: int | None = settings.get("households")
    return households
