"""Criteria made of criteria: negated, normalized under p (§4.2), and summed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from btgm_cli.core.contracts import Classified, Criterion, GenerativeModel, Rescaled
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate, settled

N_NORMALIZE = 10_000
"""Draws of p behind a mean and a standard deviation."""


class Affine:
    """f = scale · f₁ + shift. The tilts are those of f₁, at scale · β (§4.2).

    It tells the classes of x where f₁ does.

    Args:
        of: f₁.
        scale: not zero; negative to favour less of f₁.
        shift: a constant, which changes no tilt.
    """

    def __init__(self, of: Criterion, scale: float, shift: float = 0.0) -> None:
        self.of, self.scale, self.shift = of, scale, shift
        _tell_classes(self, [of])

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for x of shape (n, *X)."""
        return self.scale * self.of(x) + self.shift

    @property
    def own_beta(self) -> float:
        """The β of f₁, or of what f₁ rescales, that has the same tilt as β = 1 here."""
        inner = self.of.own_beta if isinstance(self.of, Rescaled) else 1.0
        return self.scale * inner

    def under(
        self,
        model: GenerativeModel,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> Affine:
        """With f₁ as it is once p is known."""
        return Affine(settled(self.of, model, generator, device), self.scale, self.shift)


def negated(of: Criterion) -> Affine:
    """f = −f₁: less of it."""
    return Affine(of, -1.0)


class Normalized:
    """f = (f₁ − E_p f₁) / √Var_p f₁, once p is known: mean 0 and variance 1 under p (§4.2).

    Args:
        of: f₁.
    """

    def __init__(self, of: Criterion) -> None:
        self.of = of

    def __call__(self, x: Tensor) -> Tensor:
        """Without p there is no value.

        Raises:
            SettingError: always; `under(model, generator)` gives the criterion.
        """
        expected = "is to be normalized under a model: call its method `under` first"
        raise SettingError("criterion", type(self.of).__name__, expected)

    def under(
        self,
        model: GenerativeModel,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> Affine:
        """The normalized criterion, by `N_NORMALIZE` draws of p, evaluated on `device`.

        Raises:
            SettingError: f₁ is constant under p, or not finite.
        """
        of = settled(self.of, model, generator, device)
        z = model.sample_prior(N_NORMALIZE, generator).to(device)
        f = evaluate(LatentCriterion(model, of, device=device), z)
        mean, std = f.double().mean().item(), f.double().std().item()
        if not 0 < std < float("inf"):
            expected = f"cannot be normalized: its standard deviation under p is {std:g}"
            raise SettingError("criterion", type(of).__name__, expected)
        return Affine(of, 1 / std, -mean / std)


class WeightedSum:
    """f = Σ wᵢ fᵢ. It tells the classes of x where one of its terms does.

    Args:
        terms: fᵢ by name.
        weights: wᵢ by the same names.

    Raises:
        SettingError: names that differ, or no term.
    """

    def __init__(self, terms: Mapping[str, Criterion], weights: Mapping[str, float]) -> None:
        if not terms or set(weights) != set(terms):
            expected = f"must give a weight to each of {', '.join(terms) or 'one term or more'}"
            raise SettingError("criterion.weights", dict(weights), expected)
        self.terms = dict(terms)
        self.weights = {name: float(weights[name]) for name in terms}
        _tell_classes(self, self.terms.values())

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for x of shape (n, *X)."""
        return self.parts(x) @ torch.tensor(list(self.weights.values())).to(x)

    def parts(self, x: Tensor) -> Tensor:
        """Each term's fᵢ, shape (n, terms), for x of shape (n, *X)."""
        return torch.stack([term(x) for term in self.terms.values()], -1)

    def weighted(self, weights: Iterable[float]) -> WeightedSum:
        """The same terms with other weights, in order."""
        return WeightedSum(self.terms, dict(zip(self.terms, weights, strict=True)))

    def under(
        self,
        model: GenerativeModel,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> WeightedSum:
        """With the terms as they are once p is known."""
        known = {
            name: settled(term, model, generator, device) for name, term in self.terms.items()
        }
        return WeightedSum(known, self.weights)


def _tell_classes(combined: object, parts: Iterable[object]) -> None:
    """Make a criterion `Classified` by the first part that is, so that a lost class is named.

    By attributes of its own: from Python 3.12 on, `isinstance` asks no `__getattr__`.
    """
    for part in parts:
        if isinstance(part, Classified):
            vars(combined).update(classes=part.classes, n_classes=part.n_classes)
            return
