"""An energy as criterion: the path of tilts leads from p to its Boltzmann distribution."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from btgm_cli.core.blame import name_of
from btgm_cli.core.capping import capped, ceiling_over
from btgm_cli.core.contracts import ExplicitDensity, GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.tuning.trial import N, Trial

System = Callable[[Tensor], Tensor]
"""u: x of shape (n, D) to (n,), kT."""

MOST_WALL = 0.5
"""Share of p's draws that may lie in walls; beyond, p covers something else than the system."""

N_SEEN = 4000
"""Draws of p behind that share, and behind the lowest energy met."""


class Energy:
    """f(x) = −u(x)/T − log p(x), once p is known; larger is better.

    At β the tilt is p^{1−β} e^{−βu/T} up to its constant: at 1 it is the Boltzmann distribution,
    and log Z(1) is the log partition function log ∫ e^{−u/T} dx, whatever p is. L(1) is J_KL of
    *Boltzmann Generators* (Noé et al. 2019, Eq. 5), and `kl_gap` how far above its minimum it is.

    Energies can be steep: where p is thin they are millions of kT, and a mean over draws of p is
    that of a few. As in Noé's code (`linlogcut`) an energy beyond a ceiling grows as its
    logarithm; +∞, a wall, ends there. The ceiling is so high that nothing at β = 1 knows of it.

    Args:
        system: u, a function of x (n, D) to (n,), in kT.
        temperature: T, in units of the one that u is given at.

    Raises:
        SettingError: a temperature that is not positive.
    """

    def __init__(self, system: System, temperature: float = 1.0) -> None:
        if not 0 < temperature < math.inf:
            expected = "must be positive and finite"
            raise SettingError("criterion.temperature", temperature, expected)
        self.system, self.temperature = system, float(temperature)

    def __call__(self, x: Tensor) -> Tensor:
        """Without p there is no value.

        Raises:
            SettingError: always; `under(model, generator)` gives the criterion.
        """
        expected = "is told against the density of a model: call its method `under` first"
        raise SettingError("criterion", "energy", expected)

    def under(
        self,
        model: GenerativeModel,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> BoltzmannTilt:
        """The criterion under p, once u has been tried on draws of it.

        Raises:
            SettingError: a model without `log_prob`, a u that is no function x (n, D) to (n,), is
                NaN or −∞ somewhere, or +∞ on most of p.
        """
        if not isinstance(model, ExplicitDensity):
            expected = (
                f"needs log p(x), and {name_of(model)} has no log_prob: "
                "choose model=normal or model=flow"
            )
            raise SettingError("criterion", "energy", expected)
        x = model.decode(model.sample_prior(N_SEEN, generator).to(device)).detach()
        Trial("criterion.system", self.system, "u", "x", self._unwalled).run(x[:N])
        with torch.no_grad():
            reduced = self.system(x) / self.temperature
        walls = (reduced == math.inf).double().mean().item()
        bad = (~torch.isfinite(reduced)).double().mean().item() - walls
        if bad:
            expected = f"u is NaN or −∞ for {bad:.2%} of draws of p"
            raise SettingError("criterion.system", name_of(self.system), expected)
        if walls > MOST_WALL:
            expected = f"is infinite on {walls:.0%} of the draws of p: choose one that covers it"
            raise SettingError("criterion.system", name_of(self.system), expected)
        ceiling = ceiling_over(reduced, reduced.min().item(), model.latent_dim)
        return BoltzmannTilt(model, self.system, self.temperature, ceiling)

    def _unwalled(self, x: Tensor) -> Tensor:
        """u with 0 in place of +∞, which is allowed; what is no tensor as it is."""
        u = self.system(x)
        return u.masked_fill(u == math.inf, 0.0) if isinstance(u, Tensor) else u


class BoltzmannTilt:
    """f of `Energy` under one model.

    Args:
        model: p.
        system: u, kT.
        temperature: T.
        ceiling: u/T from where on it counts as its logarithm.
    """

    def __init__(
        self,
        model: ExplicitDensity,
        system: System,
        temperature: float = 1.0,
        ceiling: float = math.inf,
    ) -> None:
        self.model, self.system = model, system
        self.temperature, self.ceiling = temperature, ceiling

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for x of shape (n, D), nats."""
        reduced = capped(self.system(x) / self.temperature, self.ceiling)
        return -reduced - self.model.log_prob(x)
