"""An earlier run's tuned model as the p of a new one: a frozen model behind a frozen flow.

With z ~ p(z) it is x = decode(T(z)), with the same prior as before: all that a run does in a
latent space goes on working, and where the model has a density so has this, exactly. Learned
acceptance is left out: sifting is no bijection of z, and its density has a constant that is only
estimated. The tilt at β = 1 by `criterion=energy` is the same for any p, so nothing is lost there;
by any other criterion the new run tilts the density of the earlier flow alone, not of its sifted
draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from btgm_cli.core.contracts import ExplicitDensity, GenerativeModel, StochasticDecoder
from btgm_cli.tuned.flows import Flow


class Pushed:
    """x = decode(T(z)) with z ~ p(z): a `GenerativeModel`.

    Args:
        model: the frozen generator.
        flow: T, on its latent space; frozen here.
    """

    def __init__(self, model: GenerativeModel, flow: Flow) -> None:
        self.model, self.flow = model, flow.eval().requires_grad_(False)

    @property
    def latent_dim(self) -> int:
        """D."""
        return self.model.latent_dim

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw z of the model's own prior, shape (n, D)."""
        return self.model.sample_prior(n, generator)

    def prior_log_prob(self, z: Tensor) -> Tensor:
        """log p(z) of that prior in nats, shape (n,), for z of shape (n, D)."""
        return self.model.prior_log_prob(z)

    def decode(self, z: Tensor) -> Tensor:
        """x of shape (n, *X) for z of shape (n, D)."""
        return self.model.decode(self.flow(z)[0])

    def to(self, device: torch.device | str) -> Pushed:
        """The same, there."""
        self.flow.to(device)
        if hasattr(self.model, "to"):
            self.model = self.model.to(device)
        return self


class PushedNoisily(Pushed):
    """The same of a model whose x given z is random: a `StochasticDecoder`."""

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n noises, shape (n, *E)."""
        return self._decoder.noise(n, generator)

    def decode_with(self, z: Tensor, noise: Tensor) -> Tensor:
        """x of shape (n, *X) for z (n, D) and noise (n, *E)."""
        return self._decoder.decode_with(self.flow(z)[0], noise)

    @property
    def _decoder(self) -> StochasticDecoder:
        assert isinstance(self.model, StochasticDecoder)
        return self.model


class PushedDensity(Pushed):
    """The same of a model with an explicit density: an `ExplicitDensity`."""

    def encode(self, x: Tensor) -> Tensor:
        """z (n, D) of x (n, D), by inverting the flow; an autoregressive one takes D passes."""
        return self.flow.inverse(self._explicit.encode(x))[0]

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, shape (n,): the model's, moved by the flow."""
        moved = self._explicit.encode(x)
        z, log_det = self.flow.inverse(moved)
        ratio = self.prior_log_prob(z) - log_det - self.prior_log_prob(moved)
        return self._explicit.log_prob(x) + ratio

    @property
    def _explicit(self) -> ExplicitDensity:
        assert isinstance(self.model, ExplicitDensity)
        return self.model


def pushed(model: GenerativeModel, flow: Flow) -> Pushed:
    """`model` behind `flow`, with what else the model offers."""
    if isinstance(model, ExplicitDensity):
        return PushedDensity(model, flow)
    if isinstance(model, StochasticDecoder):
        return PushedNoisily(model, flow)
    return Pushed(model, flow)
