"""From the figures of an audit to a verdict, its reason and what to do, in words.

Draws of the tilt itself fail any test at all in `FALSE_ALARMS` of the cases at most (Bonferroni).
A difference of less than `NO_MATTER` is none, however sure: large files show the smallest. And ok
must be earned: where draws or reference are too few to show a fault of a tenth, it is not given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from btgm_cli.core.results import Status, Verdict
from btgm_cli.tilt.estimates import ROUNDING
from btgm_cli.truth.audit import AuditFigures, Pictured
from btgm_cli.truth.two_sample import Comparison
from btgm_cli.truth.verdict import Thresholds

FALSE_ALARMS = 0.005
"""Share of healthy files that fail some test, at most."""

NO_MATTER = 0.02
"""Total variation."""

LEAST_EFFECTIVE = 1000
"""Independent draws of each side; fewer do not show every fault of a tenth."""

MOST_REPEATED = 0.05
"""Share of the rows that may repeat others, as those of a resampling do."""

LARGEST_SHARE = 0.01
"""Of all rows, that one draw may take."""

LEAST_LOST = 0.02
"""Share of the tilt."""

SHARPEN = "raise n_reference and n_particles"


@dataclass(frozen=True)
class Audit:
    """What `audit` tells of draws.

    Args:
        beta: the tilt.
        figures: what was measured, beside the exact tilt.
        limit: p below which a test fails.
        verdict: a status with its reason.
        remedy: what to do, in words; empty for ok.
        pictured: what the picture is drawn from.

    Examples:
        >>> import torch
        >>> from btgm_cli import audit, load_criterion, load_model
        >>> z = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
        >>> twice = torch.cat([z[:1000], z[:1000]])
        >>> found = audit(twice, load_model("gaussian"), load_criterion("linear"), beta=0.0)
        >>> print(found.status, found.figures.n_distinct, found.remedy)
        undertrained 1000 draw independently, and give each draw once
    """

    beta: float
    figures: AuditFigures
    limit: float
    verdict: Verdict
    remedy: str
    pictured: Pictured

    @property
    def status(self) -> Status:
        """The verdict's."""
        return self.verdict.status


def limit_of(figures: AuditFigures) -> float:
    """P below which one of the tests fails."""
    return FALSE_ALARMS / len(figures.comparisons)


def judge_draws(figures: AuditFigures, thresholds: Thresholds) -> tuple[Verdict, str]:
    """The verdict on draws, and its remedy."""
    return (
        _without_reference(figures)
        or _repeats(figures)
        or _missing(figures, thresholds)
        or _differing(figures)
        or _far_by_weights(figures, thresholds)
        or _too_few(figures)
        or (Verdict(Status.OK), "")
    )


def failed(figures: AuditFigures) -> list[Comparison]:
    """The tests that failed, the least probable first."""
    limit = limit_of(figures)
    found = [item for item in figures.comparisons if item.p < limit and item.size >= NO_MATTER]
    return sorted(found, key=lambda item: item.p)


Judgement = tuple[Verdict, str] | None


def _without_reference(figures: AuditFigures) -> Judgement:
    exact = figures.reference
    if not math.isfinite(exact.log_z):
        why = "f is NaN or infinite for some draws of p"
        return Verdict(Status.UNRELIABLE_REFERENCE, why), "give a criterion that is finite under p"
    if not exact.reliable:
        why = f"the exact tilt is not known well enough: log Z to ± {exact.log_z_se:.2g} nats"
        return Verdict(Status.UNRELIABLE_REFERENCE, why), SHARPEN
    gap = figures.weights
    if gap and gap.kl_gap < -4 * gap.kl_gap_se - ROUNDING:
        why = f"kl_gap is {gap.kl_gap:.3g} ± {gap.kl_gap_se:.2g} nats, and is never below 0"
        if exact.log_z_se > 0:
            return Verdict(Status.UNRELIABLE_REFERENCE, why), f"check log_q, or {SHARPEN}"
        return Verdict(Status.UNDERTRAINED, why), "check log_q: it is not these draws' density"
    return None


def _repeats(figures: AuditFigures) -> Judgement:
    repeated = 1 - figures.n_distinct / figures.n
    if repeated <= MOST_REPEATED and figures.largest_share <= LARGEST_SHARE:
        return None
    why = (
        f"{repeated:.1%} of the rows repeat others, one draw takes {figures.largest_share:.1%}: "
        f"{figures.n} rows are worth {figures.n_effective:.0f}"
    )
    return Verdict(Status.UNDERTRAINED, why), "draw independently, and give each draw once"


def _missing(figures: AuditFigures, thresholds: Thresholds) -> Judgement:
    """Is part of the tilt missing, and the rest right?"""
    tests = failed(figures)
    if not tests:
        return None
    remedy = "start the sampler from more of the prior, or correct its draws by their weights"
    if lost := _lost_class(figures, thresholds):
        return Verdict(Status.MODE_DROPPED, lost), remedy
    missing, stray = 1 - figures.coverage, 1 - figures.precision
    if missing < LEAST_LOST or stray > missing / 3:
        return None
    why = f"the draws miss {missing:.1%} of the tilt; {_told(tests[0])}"
    return Verdict(Status.MODE_DROPPED, why), remedy


def _lost_class(figures: AuditFigures, thresholds: Thresholds) -> str:
    """The class that lost more than half of its share, in words; empty if there is none."""
    pairs = zip(figures.class_shares, figures.class_shares_ref, strict=True)
    for label, (share, exact) in enumerate(pairs):
        error = math.hypot(
            math.sqrt(share * (1 - share) / figures.n_effective),
            math.sqrt(exact * (1 - exact) / figures.n_compare) / 2,
        )
        if exact >= thresholds.class_share and share < exact / 2 - 2 * error:
            return f"class {label} has {share:.1%} of the draws instead of {exact:.1%}"
    return ""


def _differing(figures: AuditFigures) -> Judgement:
    tests = failed(figures)
    if not tests:
        return None
    exact = figures.reference
    higher = figures.mean_f - exact.mean
    error = math.hypot(figures.mean_f_se, exact.mean_se)
    remedy = "correct the draws by their weights, or train longer"
    if abs(higher) > 4 * error:
        way = "a smaller" if higher > 0 else "a larger"
        remedy += f"; E f is too {'high' if higher > 0 else 'low'}, as of {way} β"
    return Verdict(Status.UNDERTRAINED, _told(tests[0])), remedy


def _far_by_weights(figures: AuditFigures, thresholds: Thresholds) -> Judgement:
    weights = figures.weights
    if weights is None or weights.kl_gap + 2 * weights.kl_gap_se <= thresholds.kl_gap:
        return None
    why = f"kl_gap is {weights.kl_gap:.3g} ± {weights.kl_gap_se:.2g} nats"
    return Verdict(Status.UNDERTRAINED, why), "correct the draws by their weights, or train longer"


def _too_few(figures: AuditFigures) -> Judgement:
    """Nothing was found: could it have been?"""
    if figures.n_compare < LEAST_EFFECTIVE:
        why = (
            f"nothing differs, but the reference has {figures.n_compare:.0f} effective draws only"
        )
        return Verdict(Status.UNRELIABLE_REFERENCE, why), SHARPEN
    if figures.n_effective >= LEAST_EFFECTIVE:
        return None
    why = f"nothing differs, but {figures.n_effective:.0f} draws do not show every fault of 10 %"
    return Verdict(Status.UNDERTRAINED, why), f"give {LEAST_EFFECTIVE} draws or more"


def _told(test: Comparison) -> str:
    """A test that failed, in words."""
    told = {
        "mean_f": "E f is {draws:.4g} instead of {reference:.4g}",
        "distribution_f": "{draws:.1%} of f lies where the tilt has {reference:.1%}",
        "distribution_log_p": "{draws:.1%} of log p(z) lies where the tilt has {reference:.1%}",
        "class_shares": "a class has {draws:.1%} of the draws instead of {reference:.1%}",
        "c2st_moments": "a classifier of moments tells draws from tilt (AUC {draws:.3f})",
        "c2st_neighbours": "nearest neighbours tell draws from tilt (AUC {draws:.3f})",
    }[test.test]
    return f"{told.format(draws=test.draws, reference=test.reference)}, p = {test.p:.1g}"
