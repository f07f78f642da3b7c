"""The prior over a simulator's parameters: a product, by name, each through a bijection of z."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.core.prior import standard_normal_log_prob

SETTING = "model.prior"


@dataclass(frozen=True)
class Parameter(ABC):
    """One parameter: θ = T(z) with z ~ N(0, 1).

    Args:
        name: of the parameter.
        unit: in which it is given; empty for a number.
        numbers: of its family.
    """

    name: str
    unit: str
    numbers: tuple[float, ...]

    family: ClassVar[str]
    takes: ClassVar[str]
    """What its numbers are."""

    def check(self) -> str:
        """What is wrong with its numbers, in words; empty where nothing is."""
        scale = self.numbers[1]
        return "" if scale > 0 else "its standard deviation must be positive"

    @abstractmethod
    def of_latent(self, z: Tensor) -> Tensor:
        """θ for z, of the same shape, in double precision."""

    def scaled(self, theta: Tensor) -> Tensor:
        """θ on a scale of order one, in which a simulator is smooth: what an emulator sees."""
        return (theta - self.numbers[0]) / self.numbers[1]

    @abstractmethod
    def log_prob(self, theta: Tensor) -> Tensor:
        """log p(θ), nats, of the same shape; −∞ outside."""


class Normal(Parameter):
    """θ = mean + sd z."""

    family, takes = "normal", "[mean, sd]"

    def of_latent(self, z: Tensor) -> Tensor:
        """θ for z."""
        mean, sd = self.numbers
        return mean + sd * z

    def log_prob(self, theta: Tensor) -> Tensor:
        """log N(θ; mean, sd²)."""
        return _standard(self.scaled(theta)) - math.log(self.numbers[1])


class LogNormal(Parameter):
    """θ = exp(mean + sd z): mean and sd are those of log θ."""

    family, takes = "log_normal", "[mean, sd] of the logarithm"

    def of_latent(self, z: Tensor) -> Tensor:
        """θ for z."""
        mean, sd = self.numbers
        return torch.exp(mean + sd * z)

    def scaled(self, theta: Tensor) -> Tensor:
        """log θ, standardized."""
        return (theta.log() - self.numbers[0]) / self.numbers[1]

    def log_prob(self, theta: Tensor) -> Tensor:
        """log N(log θ; mean, sd²) − log θ."""
        inside = theta > 0
        safe = torch.where(inside, theta, 1.0)
        log_p = _standard(self.scaled(safe)) - math.log(self.numbers[1]) - safe.log()
        return torch.where(inside, log_p, -math.inf)


class Uniform(Parameter):
    """θ = low + (high − low) Φ(z)."""

    family, takes = "uniform", "[low, high]"

    def check(self) -> str:
        """Must be an interval."""
        low, high = self.numbers
        return "" if low < high else "low must be less than high"

    def of_latent(self, z: Tensor) -> Tensor:
        """θ for z."""
        low, high = self.numbers
        theta: Tensor = low + (high - low) * torch.special.ndtr(z)
        return theta

    def scaled(self, theta: Tensor) -> Tensor:
        """θ over the interval, from −1 to 1."""
        low, high = self.numbers
        return 2 * (theta - low) / (high - low) - 1

    def log_prob(self, theta: Tensor) -> Tensor:
        """−log of the width inside."""
        low, high = self.numbers
        inside = (theta >= low) & (theta <= high)
        return torch.where(inside, -math.log(high - low), -math.inf).to(theta)


class TruncatedNormal(Parameter):
    """N(mean, sd²) within [low, high]: θ = mean + sd Φ⁻¹(Φ(a) + (Φ(b) − Φ(a)) Φ(z))."""

    family, takes = "truncated_normal", "[mean, sd, low, high]"

    def check(self) -> str:
        """Must leave something of the normal."""
        _, sd, low, high = self.numbers
        if not sd > 0:
            return "its standard deviation must be positive"
        if not low < high:
            return "low must be less than high"
        return "" if self._mass > 1e-9 else "next to nothing of the normal is between low and high"

    def of_latent(self, z: Tensor) -> Tensor:
        """θ for z."""
        mean, sd, low, high = self.numbers
        # From the side where the tail is thin, so that no 1 − tiny is taken.
        turned = -1.0 if low > mean else 1.0
        share = torch.special.ndtr(turned * z)
        start = self._cdf(low) if turned > 0 else self._cdf(2 * mean - high)
        unit = torch.special.ndtri(start + self._mass * share)
        theta: Tensor = (mean + turned * sd * unit).clamp(low, high)
        return theta

    def log_prob(self, theta: Tensor) -> Tensor:
        """Of the normal, over its share between the bounds."""
        _, sd, low, high = self.numbers
        log_p = _standard(self.scaled(theta)) - math.log(sd * self._mass)
        return torch.where((theta >= low) & (theta <= high), log_p, -math.inf)

    def _cdf(self, bound: float) -> float:
        mean, sd = self.numbers[:2]
        return 0.5 * math.erfc((mean - bound) / (sd * math.sqrt(2)))

    @property
    def _mass(self) -> float:
        """Φ(b) − Φ(a)."""
        mean, _, low, high = self.numbers
        if low > mean:  # the same from the other side, where the tail is thin
            return self._cdf(2 * mean - low) - self._cdf(2 * mean - high)
        return self._cdf(high) - self._cdf(low)


FAMILIES = {kind.family: kind for kind in (Normal, Uniform, LogNormal, TruncatedNormal)}


@dataclass(frozen=True)
class Prior:
    """A product of parameters, in order."""

    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Prior:
        """The prior that plain data describe.

        Args:
            given: for each parameter's name `{normal: [mean, sd]}`, `{uniform: [low, high]}`,
                `{log_normal: [mean, sd]}` or `{truncated_normal: [mean, sd, low, high]}`, with a
                `unit` beside it where it has one.

        Raises:
            SettingError: anything else.

        Examples:
            >>> import torch
            >>> energy = {"normal": [45, 1], "unit": "GeV"}
            >>> prior = Prior.of({"E": energy, "G": {"uniform": [0, 2]}})
            >>> prior.labels
            ['E (GeV)', 'G']
            >>> prior.of_latent(torch.zeros(1, 2))
            tensor([[45.,  1.]])
        """
        if not given:
            raise SettingError(SETTING, dict(given), "must name a parameter at least")
        return cls(tuple(_parameter(str(name), node) for name, node in given.items()))

    @property
    def names(self) -> list[str]:
        """Of the parameters."""
        return [parameter.name for parameter in self.parameters]

    @property
    def labels(self) -> list[str]:
        """Names with units."""
        return [f"{p.name} ({p.unit})" if p.unit else p.name for p in self.parameters]

    def __len__(self) -> int:
        """P, how many parameters there are."""
        return len(self.parameters)

    def of_latent(self, z: Tensor) -> Tensor:
        """θ (n, P) for z (n, D), D at least P, differentiable; further coordinates go unused."""
        wide = z.double()
        columns = [each.of_latent(wide[:, k]) for k, each in enumerate(self.parameters)]
        return torch.stack(columns, 1).to(z)

    def scaled(self, theta: Tensor) -> Tensor:
        """θ (n, P) on scales of order one, in double precision."""
        wide = theta.double()
        return torch.stack([p.scaled(wide[:, k]) for k, p in enumerate(self.parameters)], 1)

    def log_prob(self, theta: Tensor) -> Tensor:
        """log p(θ), nats, shape (n,), for θ (n, P), in double precision."""
        wide = theta.double()
        each = [p.log_prob(wide[:, k]) for k, p in enumerate(self.parameters)]
        return torch.stack(each, 1).sum(1)

    def told(self, theta: Tensor) -> str:
        """One θ (P,) in words: `E = 42.31 GeV, G = 0.912`."""
        each = zip(self.parameters, theta.tolist(), strict=True)
        return ", ".join(f"{p.name} = {value:.6g} {p.unit}".rstrip() for p, value in each)


def _parameter(name: str, node: Any) -> Parameter:
    """One parameter from plain data."""
    setting = f"{SETTING}.{name}"
    plain = dict(node) if isinstance(node, Mapping) else None
    ways = ", ".join(f"{kind.family}: {kind.takes}" for kind in FAMILIES.values())
    if plain is None or len(set(plain) - {"unit"}) != 1:
        raise SettingError(setting, plain or node, f"must be one of {ways}; and a unit")
    (family,) = set(plain) - {"unit"}
    if family not in FAMILIES:
        raise SettingError(setting, plain, f"no such family; choose one of {ways}")
    kind = FAMILIES[str(family)]
    numbers = _numbers(plain[family])
    if numbers is None or len(numbers) != kind.takes.split("]")[0].count(",") + 1:
        raise SettingError(setting, plain, f"must have finite numbers, {family}: {kind.takes}")
    made = kind(name, str(plain.get("unit", "")), numbers)
    if fault := made.check():
        raise SettingError(setting, plain, fault)
    return made


def _numbers(given: Any) -> tuple[float, ...] | None:
    """Finite numbers; None where these are none."""
    try:
        numbers = tuple(float(number) for number in given)
    except (TypeError, ValueError):
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _standard(z: Tensor) -> Tensor:
    """log N(z; 0, 1), of the shape of z."""
    return standard_normal_log_prob(z[..., None])
