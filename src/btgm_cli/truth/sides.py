"""The two sides of an audit, draws and tilt, as what tests and classifiers see of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from btgm_cli.core.contracts import Classified
from btgm_cli.core.latent_criterion import CHUNK, LatentCriterion, evaluate
from btgm_cli.truth.two_sample import Array, Rows

MOST_PAIRED = 16
"""Dimensions up to which products of two coordinates are features."""

PLANES = 64
"""Leading directions that stand for an x of more dimensions."""


@dataclass(frozen=True)
class Side:
    """Draws of one side.

    Args:
        place: z, or x in a row, shape (n, d).
        rows: what they carry.
        f: criterion on them, shape (n,).
        log_p: log p(z), nats, shape (n,); none for x.
        shares: of the classes, where the criterion knows them.
    """

    place: Tensor
    rows: Rows
    f: Array
    log_p: Array | None
    shares: tuple[float, ...]

    @classmethod
    def of_z(cls, z: Tensor, f: LatentCriterion, most: float = math.inf) -> Side:
        """Draws z (n, D), worth `most` at most."""
        parts = [f.with_classes(part) for part in z.split(CHUNK)]
        classes = [of_class for _, of_class in parts if of_class is not None]
        values = numbers(torch.cat([value for value, _ in parts]))
        log_p = numbers(f.model.prior_log_prob(z))
        return cls(z.double(), Rows.of(z, most), values, log_p, _shares(f, classes))

    @classmethod
    def of_x(cls, x: Tensor, f: LatentCriterion, most: float = math.inf) -> Side:
        """Draws x (n, *X), worth `most` at most."""
        known, classes = f.criterion, []
        if isinstance(known, Classified):
            with torch.no_grad():
                classes = [known.classes(part) for part in x.split(CHUNK)]
        values = numbers(evaluate(f.criterion, x))
        return cls(x.flatten(1).double(), Rows.of(x, most), values, None, _shares(f, classes))

    def some(self, most: int, generator: torch.Generator) -> Side:
        """At most so many of them, chosen at random."""
        if len(self.f) <= most:
            return self
        chosen = torch.randperm(len(self.f), generator=generator)[:most]
        at = chosen.numpy()
        return Side(
            place=self.place[chosen.to(self.place.device)],
            rows=self.rows.at(at),
            f=self.f[at],
            log_p=None if self.log_p is None else self.log_p[at],
            shares=self.shares,
        )


def moments_of(draws: Side, tilt: Side) -> tuple[Tensor, Tensor]:
    """Features whose means tell two sides apart, (n, k) and (m, k).

    Coordinates, their squares and, in few dimensions, products; of f the first three powers of
    its rank in both sides together, which no tail of f dominates.
    """
    place = _in_planes(draws, tilt)
    first, second = torch.triu_indices(place.shape[1], place.shape[1])
    if place.shape[1] > MOST_PAIRED:
        first = second = torch.arange(place.shape[1])
    centred = place - place.mean(0)
    rank = rankdata(np.concatenate([draws.f, tilt.f]))
    level = torch.from_numpy(2 * rank / len(rank) - 1).to(place)
    powers = torch.stack([level, level**2, level**3], 1)
    features = torch.cat([place, centred[:, first] * centred[:, second], powers], 1)
    return features[: len(draws.f)], features[len(draws.f) :]


def places_of(draws: Side, tilt: Side) -> tuple[Tensor, Tensor]:
    """Where nearest neighbours are near, (n, k) and (m, k)."""
    place = _in_planes(draws, tilt)
    return place[: len(draws.f)], place[len(draws.f) :]


def numbers(values: Tensor) -> Array:
    """Values as an array of doubles."""
    found: Array = values.detach().double().cpu().numpy()
    return found


def _in_planes(draws: Side, tilt: Side) -> Tensor:
    """Both sides' rows (n + m, k): z as it is, for there every direction counts.

    Images and curves by the leading directions of both sides together, which are blind to who is
    who.
    """
    place = torch.cat([draws.place, tilt.place])
    if draws.log_p is not None or place.shape[1] <= PLANES:
        return place
    centred = place - place.mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    planes: Tensor = centred @ vectors[:, -PLANES:]
    return planes


def _shares(f: LatentCriterion, classes: list[Tensor]) -> tuple[float, ...]:
    if not isinstance(f.criterion, Classified):
        return ()
    counts = torch.bincount(torch.cat(classes), minlength=f.criterion.n_classes).double()
    return tuple((counts / counts.sum()).tolist())
