"""The latent criterion f̂(z) = E_{x ~ p(x|z)} f(x) (Eq. 10): what is tuned, as a function of z."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor

from btgm_cli.core.contracts import (
    Classified,
    Criterion,
    GenerativeModel,
    SeesPrior,
    StochasticDecoder,
    Summed,
)
from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import Paid
from btgm_cli.core.seeds import derived_generator

CHUNK = 1000
"""Draws decoded at once outside training; bounds memory."""

NOISY_CHUNK = 16_000
"""Draws of x at once, where one decoding serves many; bounds memory."""

F_SAMPLES = 64
"""Draws of x for each z where the decoder is stochastic and nobody says how many."""


class LatentCriterion:
    """f̂ of a model and a criterion.

    A stochastic decoder's f̂ is a mean over draws of x. Their noise is drawn once, on the CPU,
    and held fixed for every z, so that f̂ is one smooth function of z: the same one in training,
    reference and verdict, and on every device (a sample average approximation; other noise gives
    another f̂, by O(1/√f_samples)).

    Args:
        model: the frozen generator.
        criterion: f.
        f_samples: draws of x for each z; None is 1, or `F_SAMPLES` for a stochastic decoder.
        seed: of the noise.
        device: where z lives.

    Raises:
        SettingError: several draws of a decoder that gives the same x each time.
    """

    def __init__(
        self,
        model: GenerativeModel,
        criterion: Criterion,
        f_samples: int | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.model, self.criterion = model, criterion
        self._noise_of = f_samples, seed, device
        self._noise: Tensor | None = None
        self._paid: Paid | None = None
        self._decoded_by: Paid | None = None
        self._name = ""
        if isinstance(model, StochasticDecoder):
            noise = model.noise(f_samples or F_SAMPLES, derived_generator(seed, "decoder"))
            self._noise = noise.to(device)
        elif f_samples not in (None, 1):
            expected = "must be 1: the decoder of this model gives the same x each time"
            raise SettingError("tuning.f_samples", f_samples, expected)

    def of(self, criterion: Criterion) -> LatentCriterion:
        """Another criterion's, with the same noise."""
        return LatentCriterion(self.model, criterion, *self._noise_of)

    def remembering(self, paid: Paid | None, *name: object) -> LatentCriterion:
        """The same, but values without gradient that `paid` knows are not evaluated again.

        Args:
            paid: where values are kept; None remembers nothing.
            name: tells this f̂ from others that `paid` keeps values of.
        """
        twin = copy(self)
        twin._paid, twin._name = paid, repr(name)
        return twin

    def sharing(self, decoded: Paid | None) -> LatentCriterion:
        """The same, but x of z that `decoded` knows are not decoded again.

        Args:
            decoded: of the same model and noise, where x is kept; None keeps nothing.
        """
        twin = copy(self)
        twin._decoded_by = decoded
        return twin

    @property
    def is_stochastic(self) -> bool:
        """Is it a mean over draws of x?"""
        return self._noise is not None

    def __call__(self, z: Tensor) -> Tensor:
        """f̂ of shape (n,) for z of shape (n, D), differentiable in z where f is."""
        return self._recalled("f", z, lambda: self._mean(self.criterion(self._decoded(z))))

    def terms(self, z: Tensor) -> Tensor:
        """Each term of a sum, as f̂ᵢ of shape (n, terms), for z of shape (n, D)."""
        criterion = self.criterion
        assert isinstance(criterion, Summed)
        return self._recalled("terms", z, lambda: self._mean(criterion.parts(self._decoded(z))))

    def values(self, z: Tensor) -> Tensor:
        """Each term of a sum on all x of each z (n, D), shape (n, f_samples, terms)."""
        criterion = self.criterion
        assert isinstance(criterion, Summed)

        def evaluated() -> Tensor:
            parts = criterion.parts(self._decoded(z))
            found: Tensor = parts.unflatten(0, (self.f_samples, -1)).movedim(0, 1)
            return found

        return self._recalled("values", z, evaluated)

    def fresh_values(self, z: Tensor, generator: torch.Generator) -> Tensor:
        """Each term of a sum on one x with fresh noise for each z (n, D), shape (n, terms)."""
        criterion = self.criterion
        assert isinstance(criterion, Summed)
        with torch.no_grad():
            parts: Tensor = criterion.parts(draw_x(self.model, z, generator))
            return parts

    def with_classes(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """f̂ (n,) without gradient, and the classes of all x, where the criterion knows them."""
        with torch.no_grad():
            x = self._decoded(z)
            classes = self.criterion.classes(x) if isinstance(self.criterion, Classified) else None
            return self._mean(self.criterion(x)), classes

    def with_draws(self, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """f̂ (n,) without gradient, and one x for each z, of shape (n, *X)."""
        with torch.no_grad():
            x = draw_x(self.model, z, generator)
            return self.criterion(x) if self._noise is None else self(z), x

    def afresh(self, z: Tensor, noises: int, generator: torch.Generator) -> Tensor:
        """f of so many x with fresh noise for each z, shape (n, noises), without gradient.

        Each z is decoded once, and each x has a noise of its own.
        """
        model = self.model
        with torch.no_grad():
            if not isinstance(model, StochasticDecoder):
                return self.criterion(model.decode(z))[:, None].expand(-1, noises)
            noise = model.noise(noises * len(z), generator).unflatten(0, (noises, -1))
            f = self.criterion(model.decode_with(z, noise).flatten(0, 1))
            each: Tensor = f.unflatten(0, (noises, -1))
            return each.T

    def noisy(self, z: Tensor, noises: int, generator: torch.Generator) -> Tensor:
        """The same, but what has been paid for of exactly this z is not evaluated again.

        The generator must be one that serves this call alone.
        """

        def evaluated() -> Tensor:
            parts = z.split(min(CHUNK, max(NOISY_CHUNK // noises, 1)))
            return torch.cat([self.afresh(part, noises, generator) for part in parts])

        with torch.no_grad():
            return _known(self._paid, f"{noises} fresh {self._name}", z, evaluated)

    @property
    def f_samples(self) -> int:
        """Draws of x for each z."""
        return 1 if self._noise is None else len(self._noise)

    def _recalled(self, what: str, z: Tensor, evaluated: Callable[[], Tensor]) -> Tensor:
        """What is known of exactly this z (n, D), else what is evaluated."""
        return _known(self._paid, f"{what} {self._name}", z, evaluated)

    def _decoded(self, z: Tensor) -> Tensor:
        """All x of all z, shape (f_samples · n, *X), the first of each z first."""
        return _known(self._decoded_by, "x", z, lambda: self._decode(z))

    def _decode(self, z: Tensor) -> Tensor:
        if self._noise is None or not isinstance(self.model, StochasticDecoder):
            return self.model.decode(z)
        return self.model.decode_with(z, self._noise[:, None]).flatten(0, 1)

    def _mean(self, f: Tensor) -> Tensor:
        """The mean over noise of values (f_samples · n, …), shape (n, …)."""
        return f if self._noise is None else f.unflatten(0, (len(self._noise), -1)).mean(0)


def _known(paid: Paid | None, what: str, z: Tensor, evaluated: Callable[[], Tensor]) -> Tensor:
    """What has been paid for of exactly this z (n, D), else what is evaluated, and kept."""
    if paid is None or torch.is_grad_enabled():
        return evaluated()
    content = z.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
    key = hashlib.sha256(f"{what} {z.dtype} ".encode() + content).hexdigest()
    values = paid.recall(key)
    if values is None:
        values = evaluated()
        paid.keep(key, values)
    return values.to(z.device)


def draw_x(model: GenerativeModel, z: Tensor, generator: torch.Generator) -> Tensor:
    """One x ~ p(x|z) for each z (n, D), of shape (n, *X), without gradient."""
    with torch.no_grad():
        if isinstance(model, StochasticDecoder):
            return model.decode_with(z, model.noise(len(z), generator))
        return model.decode(z)


def shape_of_x(model: GenerativeModel, device: torch.device | str = "cpu") -> tuple[int, ...]:
    """The shape of one x of a model on this device."""
    generator = derived_generator(0, device=device)
    return tuple(draw_x(model, model.sample_prior(2, generator), generator).shape[1:])


def evaluate(f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """f̂(z), or its terms, without gradient, shape (n, …), in bounded memory."""
    with torch.no_grad():
        return torch.cat([f(part) for part in z.split(CHUNK)])


def settled(
    criterion: Criterion,
    model: GenerativeModel,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Criterion:
    """The criterion once p is known: itself, unless a part of it has to be normalized.

    Args:
        criterion: f.
        model: the frozen generator.
        generator: of draws of p; one of the CPU, so that f is the same on every device.
        device: where the model and the criterion are.
    """
    if not isinstance(criterion, SeesPrior):
        return criterion
    return criterion.under(model, generator, device)
