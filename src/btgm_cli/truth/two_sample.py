"""Are these draws from the same distribution as those? Tests whose null is known beforehand.

The draws of either side may repeat or carry less than they count: each side has an effective
number of draws, and every error rests on those.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import kolmogorov, ndtr
from scipy.stats import chi2_contingency, rankdata
from torch import Tensor

Array = NDArray[np.float64]

FOLDS = 5
"""A classifier is fitted on all folds but one, and asked about that one."""

NEIGHBOURS = 20

RIDGE = 1e-3
"""On the covariance of standardized features, against those that say the same."""

RARER = 5.0
"""A region is missed where the draws there are this many times rarer than the tilt's."""

LEAST_EXPECTED = 10.0
"""Draws expected of a class; rarer ones are counted together."""

Classifier = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Scores (k,) of held-out rows (k, d), from rows (n, d) to train on and their labels (n,): the
higher, the more like label 1."""


@dataclass(frozen=True)
class Comparison:
    """One test of the draws against the tilt.

    Args:
        test: its name.
        draws: what was measured of the draws.
        reference: what the tilt has.
        error: standard error of the difference, 0 where none is defined.
        p: probability of a difference as large between draws of the same distribution.
        size: the least total variation that such a difference speaks of, from 0 to 1.
    """

    test: str
    draws: float
    reference: float
    error: float
    p: float
    size: float


@dataclass(frozen=True)
class Rows:
    """Draws, and how much they carry.

    Args:
        group: which distinct row each is, shape (n,).
        effective: independent draws that they are worth.
    """

    group: NDArray[np.int64]
    effective: float

    @classmethod
    def of(cls, rows: Tensor, most: float = math.inf) -> Rows:
        """Of rows (n, *X): with repeats Kish's (Σc)² / Σc², and `most` at most."""
        flat = np.ascontiguousarray(rows.detach().cpu().numpy().reshape(len(rows), -1))
        keys = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()
        _, group, counts = np.unique(keys, return_inverse=True, return_counts=True)
        effective = len(flat) ** 2 / float(np.square(counts).sum())
        return cls(group.astype(np.int64), max(1.0, min(effective, most)))

    @property
    def distinct(self) -> int:
        """Rows that differ."""
        return int(self.group.max()) + 1

    @property
    def largest_share(self) -> float:
        """Share of the rows that one of them takes."""
        return float(np.bincount(self.group).max()) / len(self.group)

    def at(self, chosen: NDArray[np.int64]) -> Rows:
        """Some of the rows."""
        return replace(
            self,
            group=self.group[chosen],
            effective=self.effective * len(chosen) / len(self.group),
        )


def mean_test(values: Array, mean: float, mean_se: float, std: float, n: float) -> Comparison:
    """The mean of values worth n draws against one that is known to ± `mean_se`.

    Args:
        values: shape (k,).
        mean: of the tilt.
        mean_se: its error.
        std: of a value under the tilt.
        n: effective draws.
    """
    found = float(values.mean())
    error = math.hypot(float(values.std()) / math.sqrt(n), mean_se)
    off = abs(found - mean)
    p = 2 * float(ndtr(-off / error)) if error > 0 else float(off <= 1e-6 * abs(mean))
    # Of two normal distributions so far apart.
    size = math.erf(off / max(std, 1e-300) / 8**0.5)
    return Comparison("mean_f", found, mean, error, p, size)


def distribution_test(name: str, a: Array, b: Array, n: float, m: float) -> Comparison:
    """Kolmogorov and Smirnov's, of values (k,) worth n draws against others worth m.

    `draws` is the share of the draws below the value where the two differ most, `reference` that
    of the tilt.
    """
    at = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(v), at, side="right") / len(v) for v in (a, b)]
    worst = int(np.abs(below[0] - below[1]).argmax())
    first, second = float(below[0][worst]), float(below[1][worst])
    root = math.sqrt(n * m / (n + m))
    p = float(kolmogorov(abs(first - second) * root))
    return Comparison(name, first, second, 0.5 / root, p, abs(first - second))


def shares_test(
    of_draws: Sequence[float], of_tilt: Sequence[float], n: float, m: float
) -> Comparison:
    """Pearson's test that shares of classes in n draws and in m are the same.

    `draws` and `reference` are the shares of the class that differs most.
    """
    a, b = np.array(of_draws), np.array(of_tilt)
    both = np.stack([n * a, m * b])
    expected = both.sum(0) * min(n, m) / (n + m)
    rare = expected < LEAST_EXPECTED
    table = np.concatenate([both[:, ~rare], both[:, rare].sum(1, keepdims=True)], 1)
    table = table[:, table.sum(0) >= LEAST_EXPECTED]
    told = table.shape[1] > 1
    p = float(chi2_contingency(table, correction=False).pvalue) if told else 1.0
    worst = int(np.abs(a - b).argmax())
    pooled = float(both[:, worst].sum() / (n + m))
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    size = 0.5 * float(np.abs(a - b).sum())
    return Comparison("class_shares", float(a[worst]), float(b[worst]), error, p, size)


@dataclass(frozen=True)
class HeldOut:
    """What a classifier says of rows that it was not fitted on: the draws', and the tilt's.

    The higher a score, the more like the tilt. Shapes (n,) and (m,).
    """

    test: Comparison
    draws: Array
    reference: Array


def classifier_test(
    name: str,
    classifier: Classifier,
    draws: tuple[Tensor, Rows],
    reference: tuple[Tensor, Rows],
    generator: torch.Generator,
) -> HeldOut:
    """A classifier two-sample test (Lopez-Paz & Oquab 2017), by cross-validation.

    The figure is the area under the ROC curve: the probability that a draw of the tilt scores
    higher than one of the draws, ½ where nobody can tell them apart. All folds use the same pairs
    of rows twice, once from each side, so that under the null the variance of their mean is up to
    twice that of one test on as many rows, as a short sum over pairs of folds shows for a linear
    classifier. Twice it is.

    Args:
        name: of the test.
        classifier: what tells them apart.
        draws: features (n, d), and what the draws carry.
        reference: features (m, d) of the tilt's draws, and what those carry.
        generator: of the folds.
    """
    features = torch.cat([draws[0], reference[0]])
    label = torch.cat([torch.zeros(len(draws[0])), torch.ones(len(reference[0]))]).to(features)
    fold = torch.cat([_folds(rows, generator) for rows in (draws[1], reference[1])])
    scores, areas = np.zeros(len(label)), []
    for k in range(FOLDS):
        held, fitted = fold == k, fold != k
        found = classifier(features[fitted], label[fitted], features[held]).cpu().numpy()
        areas.append(_area(found, label[held].cpu().numpy() == 1))
        # Ranks within the fold: the folds' classifiers have scales of their own.
        scores[held.numpy()] = rankdata(found) / (len(found) + 1)
    n, m = draws[1].effective, reference[1].effective
    area, error = float(np.mean(areas)), math.sqrt(2 * (n + m + 1) / (12 * n * m))
    size = 1 - math.sqrt(max(0.0, 2 - 2 * max(area, 0.5)))
    p = float(ndtr((0.5 - area) / error))
    test = Comparison(name, area, 0.5, error, p, size)
    return HeldOut(test, scores[: len(draws[0])], scores[len(draws[0]) :])


def quadratic(features: Tensor, label: Tensor, held: Tensor) -> Tensor:
    """Fisher's linear discriminant, with a ridge: what moments that the features hold can tell."""
    centre, scale = features.mean(0), features.std(0).clamp_min(1e-12)
    white, other = (features - centre) / scale, (held - centre) / scale
    means = [white[label == k].mean(0) for k in (0, 1)]
    within = white - torch.where(label[:, None] == 1, means[1], means[0])
    covariance = within.T @ within / len(within) + RIDGE * torch.eye(white.shape[1]).to(white)
    scores: Tensor = other @ torch.linalg.solve(covariance, means[1] - means[0])
    return scores


def neighbours(features: Tensor, label: Tensor, held: Tensor) -> Tensor:
    """The share of the nearest neighbours that have label 1."""
    centre, scale = features.mean(0), features.std(0).clamp_min(1e-12)
    white, other = ((rows - centre) / scale for rows in (features.float(), held.float()))
    nearest = torch.cat(
        [
            torch.cdist(part, white).topk(NEIGHBOURS, largest=False).indices
            for part in other.split(500)
        ]
    )
    share: Tensor = label[nearest].mean(1)
    return share


def missed(held_out: HeldOut) -> tuple[float, float]:
    """Shares that one side has and the other lacks: of the tilt's draws, and of the draws.

    Each is the share of one side, less that of the other, in the largest region of extreme scores
    where the other is `RARER` times as rare, for certain: with two errors of its count.
    """
    return (
        _beyond(held_out.reference, held_out.draws),
        _beyond(-held_out.draws, -held_out.reference),
    )


def _beyond(many: Array, few: Array) -> float:
    """The share of `many`, less that of `few`, above the lowest score where `few` are rare."""
    at = np.unique(np.quantile(many, np.linspace(0, 1, 501)))
    above = [1 - np.searchsorted(np.sort(v), at, side="left") / len(v) for v in (many, few)]
    count = above[1] * len(few)
    at_most = (count + 2 * np.sqrt(count) + 3) / len(few)
    rare = RARER * at_most <= above[0]
    return float(np.max(np.where(rare, above[0] - above[1], 0.0)))


def _folds(rows: Rows, generator: torch.Generator) -> Tensor:
    """A fold for each row, shape (n,): even ones, and repeats of a row in one fold."""
    label, group = np.unique(rows.group, return_inverse=True)
    order = torch.randperm(len(label), generator=generator)
    return (order % FOLDS)[torch.from_numpy(group.ravel())]


def _area(scores: Array, positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve; ties count half."""
    ranks = rankdata(scores)
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))
