"""The networks of the load VAE: residual encoder and decoder, and the map of its prior.

The decoder works on y, power on a scale that is logarithmic for small values and ends at M, which
no curve exceeds: x = M (1 - exp(-exp(y))). On a purely logarithmic scale E exp(beta x) is infinite
for every beta > 0, so that no tilt towards a peak would exist; on one with linear tails it does,
but runs far beyond what the data hold.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from btgm_cli.store.checkpoints import StoredNetwork

BLOCKS = 10
LENGTH = 21
FLOOR_KW = 0.01
LOG_SCALE_RANGE = 2.5
CEILING_SHARE = 0.99
"""Power above this share of M counts as this share."""


class Convolution(nn.Linear):
    """A convolution over three neighbours along maps of shape (n, length, channels).

    As one product with a matrix: on a CPU, for maps as small as these, half the time of a Conv1d.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(3 * channels, out)

    def forward(self, h: Tensor) -> Tensor:
        """Maps (n, length, out) of h (n, length, channels)."""
        padded = pad(h, (0, 0, 1, 1))
        neighbours = [padded[:, :-2], h, padded[:, 2:]]
        return super().forward(torch.cat(neighbours, 2))


class Residual(nn.Module):
    """h + A silu(conv(silu(h))), the identity at first: maps of shape (n, length, channels)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Convolution(channels, channels)
        self.second = nn.Linear(channels, channels)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor) -> Tensor:
        """A map of the shape of h."""
        out: Tensor = h + self.second(silu(self.first(silu(h))))
        return out


class Coupling(nn.Module):
    """One half of z scales and shifts the other, then the order is turned round.

    Density Estimation using Real NVP (Dinh et al., 2017), https://arxiv.org/abs/1605.08803. The
    log scales and shifts are bounded: far out, where no data were, the map is a plain scaling.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.kept = dim // 2
        self.net = nn.Sequential(
            nn.Linear(self.kept, hidden), nn.Tanh(), nn.Linear(hidden, 2 * (dim - self.kept))
        )
        for parameter in self.net[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, z: Tensor) -> Tensor:
        """The image of z (n, dim)."""
        a, b = z[:, : self.kept], z[:, self.kept :]
        log_scale, shift = self._terms(a)
        return torch.cat([a, b * log_scale.exp() + shift], 1).flip(1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The z whose image is y (n, dim), and log |det dz/dy|, shape (n,)."""
        y = y.flip(1)
        a, b = y[:, : self.kept], y[:, self.kept :]
        log_scale, shift = self._terms(a)
        return torch.cat([a, (b - shift) * (-log_scale).exp()], 1), -log_scale.sum(1)

    def _terms(self, a: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(a).chunk(2, 1)
        return raw.tanh(), shift


class VaeNetwork(StoredNetwork):
    """A VAE of weekly load curves x (n, points), kW.

    p(z) = N(0, I). A few couplings T and the residual decoder give the mean m and the scale s of
    y, which is Gaussian with AR(1) noise e of unit variance: y = m(T(z)) + s(T(z)) e. The encoder
    tells T(z), in whose space the aggregate posterior need not look like N(0, I).

    Args:
        points: Points of a week: 336 half-hours.
        latent_dim: Dimension of z.
        channels: Channels of the decoder's maps.
        encoder_channels: Channels of the encoder's maps.
        couplings: How many couplings there are.
        hidden: Width of their hidden layer.
    """

    family: ClassVar[str] = "load_vae"

    def __init__(
        self,
        points: int = 336,
        latent_dim: int = 12,
        channels: int = 32,
        encoder_channels: int = 32,
        couplings: int = 4,
        hidden: int = 64,
    ) -> None:
        super().__init__()
        self.architecture = {
            "points": points,
            "latent_dim": latent_dim,
            "channels": channels,
            "encoder_channels": encoder_channels,
            "couplings": couplings,
            "hidden": hidden,
        }
        self.points, self.latent_dim = points, latent_dim
        patch, narrow = points // LENGTH, channels // 2
        self.couplings = nn.ModuleList(Coupling(latent_dim, hidden) for _ in range(couplings))
        self.spread = nn.Linear(latent_dim, channels * LENGTH)
        self.decoder = nn.Sequential(*(Residual(channels) for _ in range(BLOCKS)))
        self.expand = Convolution(channels, narrow * patch)
        self.time = nn.Parameter(torch.zeros(points, narrow))
        self.heads = nn.Linear(narrow, 2)
        self.offsets = nn.Parameter(torch.zeros(points, 2))
        self.correlation = nn.Parameter(torch.zeros(()))
        self.embed = nn.Linear(patch, encoder_channels)
        self.encoder = nn.Sequential(*(Residual(encoder_channels) for _ in range(BLOCKS)))
        self.posterior = nn.Linear(encoder_channels * LENGTH, 2 * latent_dim)
        self.register_buffer("ceiling_kw", torch.ones(()))
        self.register_buffer("centre", torch.zeros(points))
        self.register_buffer("width", torch.ones(()))

    ceiling_kw: Tensor
    centre: Tensor
    width: Tensor

    def set_scale(self, x: Tensor, ceiling: float) -> None:
        """Take the scale of power from curves, before any training.

        Args:
            x: Curves (n, points), kW.
            ceiling: M, what none of their kind exceeds, kW.
        """
        self.ceiling_kw.fill_(ceiling)
        y = self._to_y(x)
        self.centre.copy_(y.mean(0))
        self.width.copy_((y - y.mean(0)).std())

    def rho(self) -> Tensor:
        """Correlation of the noise of one point with the next, in (-1, 1)."""
        return self.correlation.tanh()

    def curves(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of y, each (n, points), for z (n, latent_dim)."""
        for coupling in self.couplings:
            z = coupling(z)
        return self._decode(z)

    def to_kw(self, y: Tensor) -> Tensor:
        """Power in kW of y, any shape with points last."""
        # At y = 4 this is M already; far beyond, exp would overflow and its gradient be NaN.
        return -self.ceiling_kw * torch.expm1(-y.clamp(max=4.0).exp())

    def mean_kw(self, mean: Tensor, scale: Tensor) -> Tensor:
        """E x in kW of a Gaussian y, by Gauss-Hermite quadrature with three nodes."""
        step = math.sqrt(3) * scale
        return (self.to_kw(mean - step) + 4 * self.to_kw(mean) + self.to_kw(mean + step)) / 6

    def correlate(self, white: Tensor) -> Tensor:
        """AR(1) noise of unit variance from white noise (n, points)."""
        rho = self.rho().to(white.device)
        lags = torch.arange(self.points, device=white.device)
        lags = lags[:, None] - lags
        weights = torch.where(lags >= 0, rho ** lags.clamp(min=0), 0.0)
        weights = torch.cat([weights[:, :1], weights[:, 1:] * (1 - rho**2).sqrt()], 1)
        return white @ weights.T

    def bound(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The two terms of the ELBO in nats, each (n,): log p(x | z) and an estimate of the KL.

        The density is that of x in kW.

        Args:
            x: Curves (n, points), kW.
            noise: Standard normal draws (n, latent_dim), which make the draws of q(z | x).
        """
        y = self._to_y(x)
        patches = ((y - self.centre) / self.width).unflatten(1, (LENGTH, -1))
        h = self.encoder(self.embed(patches))
        mean, log_scale = self.posterior(h.flatten(1)).chunk(2, 1)
        u = mean + log_scale.exp() * noise
        entropy = (log_scale + 0.5 * math.log(2 * math.pi * math.e)).sum(1)
        reconstruction = self._log_prob(y, *self._decode(u)) - self._log_slope(y)
        return reconstruction, -entropy - self._log_prior(u)

    def _decode(self, u: Tensor) -> tuple[Tensor, Tensor]:
        h = self.decoder(self.spread(u).unflatten(1, (LENGTH, -1)))
        h = self.expand(silu(h)).view(len(u), self.points, -1)
        mean, raw = (self.heads(silu(h + self.time)) + self.offsets).unbind(2)
        log_scale = LOG_SCALE_RANGE * (raw / LOG_SCALE_RANGE).tanh()
        return self.centre + self.width * mean, self.width * log_scale.exp()

    def _log_prior(self, u: Tensor) -> Tensor:
        """log density of T(z) with z ~ N(0, I), nats, shape (n,)."""
        total = u.new_zeros(len(u))
        for coupling in reversed(self.couplings):
            u, log_det = coupling.inverse(u)  # type: ignore[operator]
            total = total + log_det
        return total - 0.5 * (u.square() + math.log(2 * math.pi)).sum(1)

    def _log_prob(self, y: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        """log density of y under AR(1) noise, nats, shape (n,)."""
        e = (y - mean) / scale
        rho = self.rho()
        rest = 1 - rho**2
        squares = e[:, 0].square() + (e[:, 1:] - rho * e[:, :-1]).square().sum(1) / rest
        logs = math.log(2 * math.pi) * self.points + (self.points - 1) * rest.log()
        return -0.5 * (squares + logs) - scale.log().sum(1)

    def _to_y(self, x: Tensor) -> Tensor:
        """The y of x; less than 10 W counts as 10 W."""
        share = x.clamp(min=FLOOR_KW) / self.ceiling_kw
        return (-torch.log1p(-share.clamp(max=CEILING_SHARE))).log()

    def _log_slope(self, y: Tensor) -> Tensor:
        """log |det dx/dy|, nats, shape (n,)."""
        return (self.ceiling_kw.log() + y - y.exp()).sum(1)
