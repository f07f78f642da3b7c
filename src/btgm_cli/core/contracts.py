"""What the parts of a run are to each other: the protocols that a model and a criterion fulfil."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from btgm_cli.core.results import Particles, Reference


@runtime_checkable
class GenerativeModel(Protocol):
    """A frozen generator with a latent prior: z ~ p(z), x = decode(z)."""

    @property
    def latent_dim(self) -> int:
        """D, the dimension of the latent space."""
        ...

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw z ~ p(z), shape (n, D), on the generator's device."""
        ...

    def prior_log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, shape (n,), for z of shape (n, D)."""
        ...

    def decode(self, z: Tensor) -> Tensor:
        """x of shape (n, *X) for z of shape (n, D): frozen, in eval mode, differentiable in z."""
        ...


@runtime_checkable
class StochasticDecoder(Protocol):
    """A model whose x given z is random, through noise that can be held fixed."""

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n noises, shape (n, *E), on the generator's device."""
        ...

    def decode_with(self, z: Tensor, noise: Tensor) -> Tensor:
        """x (n, *X) for z (n, D) and noise (n, *E), differentiable in z.

        For noise of shape (k, n, *E), or (k, 1, *E) alike for each z, k draws of each: (k, n, *X).
        """
        ...


@runtime_checkable
class ExplicitDensity(Protocol):
    """A model whose x is a bijection of z, so that the density of any x is known (§3.2)."""

    def encode(self, x: Tensor) -> Tensor:
        """z (n, D) of x (n, D), the inverse of `decode`, differentiable in x."""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, normalized, shape (n,), for x (n, D), differentiable in x."""
        ...


@runtime_checkable
class KnowsData(Protocol):
    """A model that can show the data which its x are to be like."""

    def data_draws(self, n: int, generator: torch.Generator) -> Tensor | None:
        """Draw n of the data, shape (n, *X), on the CPU; None where they are not at hand."""
        ...


class Criterion(Protocol):
    """What to favour: f(x), larger is better. A plain function qualifies."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """f of shape (n,) for x of shape (n, *X)."""
        ...


@runtime_checkable
class Classified(Protocol):
    """A criterion that also tells the class of x, so that a lost class can be named."""

    def classes(self, x: Tensor) -> Tensor:
        """Class of each x (n, *X): whole numbers of shape (n,)."""
        ...

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        ...


@runtime_checkable
class Summed(Protocol):
    """A weighted sum of criteria, whose weights can be solved for."""

    @property
    def terms(self) -> Mapping[str, Criterion]:
        """fᵢ by name."""
        ...

    @property
    def weights(self) -> Mapping[str, float]:
        """wᵢ by the same names."""
        ...

    def parts(self, x: Tensor) -> Tensor:
        """Each term's fᵢ, shape (n, terms), for x of shape (n, *X)."""
        ...

    def weighted(self, weights: Iterable[float]) -> Criterion:
        """The same terms with other weights, in order."""
        ...


@runtime_checkable
class SeesPrior(Protocol):
    """A criterion that is complete only once p is known, such as one to be normalized."""

    def under(
        self, model: GenerativeModel, generator: torch.Generator, device: torch.device | str
    ) -> Criterion:
        """The criterion under p, by draws from the generator; model and f are on `device`."""
        ...


class ReferenceSource(Protocol):
    """The exact tilt as a function of β."""

    @property
    def f_evals(self) -> int:
        """Criterion evaluations spent so far."""
        ...

    def at(self, beta: float) -> Reference:
        """The tilt at one β."""
        ...

    def particles(self, beta: float, n: int, generator: torch.Generator) -> Particles:
        """n draws from the tilt at β, as well as it is known."""
        ...


@runtime_checkable
class KnowsTilts(Protocol):
    """A criterion that knows its tilts of some models in closed form."""

    def closed_form(self, model: GenerativeModel) -> ReferenceSource | None:
        """The exact tilts of this model, as f̂(z) = f(decode(z)); None where they are not known.

        A subclass of a known model, or of the criterion, may decode or value differently: answer
        for exact types only.
        """
        ...


@runtime_checkable
class Rescaled(Protocol):
    """A criterion that is another one on a different scale, and so knows two scales of β."""

    @property
    def own_beta(self) -> float:
        """The other criterion's β that has the same tilt as β = 1 of this one."""
        ...


@runtime_checkable
class Doubtful(Protocol):
    """A criterion that is itself an estimate, and knows whether it is to be believed.

    No figure of a run can tell that f is wrong: they are all measured with it.
    """

    @property
    def doubt(self) -> str:
        """Why f may not be believed; empty where it may."""
        ...

    @property
    def remedy(self) -> str:
        """What would mend it: settings of the same command, or words."""
        ...


@dataclass(frozen=True)
class Covered:
    """One parameter of one data set that was simulated at a θ drawn from p.

    Args:
        parameter: its name.
        truth: what the data were simulated at.
        mean: of the posterior at β = 1.
        sd: likewise.
        rank: share of the posterior's draws below the truth; uniform where all is right.
        doubt: why this posterior may not be believed; empty where it may.
    """

    parameter: str
    truth: float
    mean: float
    sd: float
    rank: float
    doubt: str


@runtime_checkable
class Calibratable(Protocol):
    """A criterion whose tilts at β = 1 are posteriors, so that known truths can judge them."""

    def trial(self, model: GenerativeModel, number: int, seed: int) -> list[Covered]:
        """Simulate one data set at a draw of p, and fit it as the observed one is fitted.

        Args:
            model: the simulator's.
            number: of the data set.
            seed: of everything random.
        """
        ...


class DrawSource(Protocol):
    """What a run hands to an export: draws x of p, and of the tilt where it vouches for them."""

    @property
    def beta(self) -> float:
        """β of the tilt."""
        ...

    @property
    def model(self) -> GenerativeModel:
        """The frozen generator whose x they are."""
        ...

    @property
    def doubt(self) -> str:
        """Why no draws here may stand for the exact tilt; empty where they may."""
        ...

    def tilted(self, n: int) -> Tensor:
        """Draw x of the tilt, shape (n, *X); for want of doubt alone."""
        ...

    def prior(self, n: int) -> Tensor:
        """Draw x of p, shape (n, *X)."""
        ...


class Tracker(Protocol):
    """Where a finished run is sent, by a frozen dataclass that `conf/tracker/NAME.yaml` names.

    Whatever goes wrong, the run is in its directory: it says so and goes on.
    """

    def check(self) -> None:
        """Refuse, before any work, what cannot send.

        Raises:
            SettingError: says what is missing.
        """
        ...

    def send(self, path: Path) -> str:
        """Send a finished run, from its directory alone, in place of what was sent of it before.

        Returns:
            Where it is; empty where nothing was sent.
        """
        ...


class Export(Protocol):
    """What a domain leaves in a run directory beside the tables that every run has.

    A frozen dataclass that a top-level node of a run's configuration names by its `_target_`.
    """

    def check(self, model: GenerativeModel) -> None:
        """Refuse, before any work, a model that it has nothing to write of.

        Raises:
            SettingError: names the setting that asks for it.
        """
        ...

    def write(self, path: Path, draws: DrawSource) -> str:
        """Write its files into a run directory.

        Returns:
            Why nothing was written; empty where all was that its settings ask for.
        """
        ...

    def draw(self, path: Path) -> list[Path]:
        """Draw its pictures, from the files in a run directory alone, if they are there."""
        ...
