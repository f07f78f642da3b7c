"""Whether to believe a run: from the figures of a point to a verdict and its remedy.

`ok` is meant as a careful user would: the tuned model may stand for the exact tilt. A model that
may not, but whose weighted draws may, is `ok_corrected`; that alone asks for a tame tail of the
weights, which the draws themselves do not carry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import Effort, Figures, PathPoint, Status, Verdict
from btgm_cli.tilt.estimates import (
    MIN_ESS,
    ROUNDING,
    above_upper_bound,
    below_lower_bound,
    largest_reliable_k,
    short_of_lower_bound,
)
from btgm_cli.truth.smc import why_unreliable

CLIMBED = ("smc", "bridge")
"""Methods of a reference that rest on tempered SMC."""

LARGEST_NOISE_SHARE = 0.02
"""Share of the move of E f that may be owed to the fixed noise of a stochastic decoder."""


@dataclass(frozen=True)
class Thresholds:
    """What a verdict asks for.

    The defaults: 0.15 nats bound the total variation from the exact tilt by 0.27 (Pinsker); at
    0.3 three draws of the tuned model serve as one exact draw; HDR below is the region that holds
    99 % of a distribution where it is densest.

    Args:
        kl_gap: largest KL(q̂‖q_β) that is ok, nats.
        ess_fraction: smallest effective share of the draws that is ok.
        coverage: smallest share of the exact tilt within q̂'s HDR; below, a mode is lost or q̂
            fits nowhere.
        precision: smallest share of q̂ within the exact tilt's HDR at which low coverage can
            count as a lost mode: q̂ is right where it is, and is not everywhere.
        class_share: a class with at least this share of the exact tilt must keep half of it.

    Raises:
        SettingError: a value out of range.

    Examples:
        >>> from btgm_cli import Thresholds
        >>> strict = Thresholds(kl_gap=0.02)
        >>> (strict.kl_gap / 2) ** 0.5  # Pinsker: the largest total variation that is ok
        0.1
        >>> strict.coverage
        0.9
        >>> Thresholds(coverage=90)
        Traceback (most recent call last):
        btgm_cli.core.errors.SettingError: verdict.coverage=90: must be within 0 … 1
    """

    kl_gap: float = 0.15
    ess_fraction: float = 0.3
    coverage: float = 0.9
    precision: float = 0.8
    class_share: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.kl_gap < math.inf:
            raise SettingError("verdict.kl_gap", self.kl_gap, "must be a positive number of nats")
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise SettingError(f"verdict.{field.name}", value, "must be within 0 … 1")


SEVERITY = (
    Status.INFEASIBLE,
    Status.UNRELIABLE_CRITERION,
    Status.UNRELIABLE_REFERENCE,
    Status.MODE_DROPPED,
    Status.UNDERTRAINED,
    Status.OK_CORRECTED,
    Status.OK,
)


OUT_OF_REACH = Verdict(
    Status.UNRELIABLE_REFERENCE, "tempered SMC does not reach so strong a tilt of this criterion"
)


def judge(figures: Figures, effort: Effort, thresholds: Thresholds) -> Verdict:
    """The verdict on one β."""
    if not math.isfinite(figures.reference.log_z):
        why = "f is NaN or infinite for some draws of p"
        return Verdict(Status.UNRELIABLE_REFERENCE, why)
    if not effort.finite:
        why = f"the loss or its gradient was not finite after {effort.steps} steps"
        return Verdict(Status.UNDERTRAINED, why)
    if contradiction := _contradiction(figures):
        return Verdict(Status.UNRELIABLE_REFERENCE, contradiction, _sizes(figures))
    if not figures.reference.reliable:
        return _without_reference(figures)
    return _against_reference(figures, thresholds)


def hopeless(point: PathPoint) -> bool:
    """Did the training break, or is f itself not a number somewhere? No search goes on from it."""
    return not point.effort.finite or not math.isfinite(point.figures.reference.log_z)


def _against_reference(figures: Figures, thresholds: Thresholds) -> Verdict:
    lost = _lost_class(figures, thresholds)
    doubt = _doubt(figures, thresholds)
    shares = figures.ess_fraction >= thresholds.ess_fraction and not lost
    if shares and not doubt:
        return _but_for_noise(Verdict(Status.OK), figures)
    within = figures.kl_gap - 2 * figures.kl_gap_se <= thresholds.kl_gap
    covered = figures.coverage + 2 * figures.coverage_se >= thresholds.coverage
    if not _short(figures) and (lost or (not covered and _only_missing(figures, thresholds))):
        what = lost or f"only {figures.coverage:.0%} of the exact tilt is covered"
        return Verdict(Status.MODE_DROPPED, what, ("batch_size", "first_steps", "steps"))
    tame = _tame(figures)
    why = f"kl_gap {figures.kl_gap:.3g} nats, ess_fraction {figures.ess_fraction:.2g}"
    if shares and within and covered:
        why = f"{doubt}: only that error stands between this and ok"
    if covered and tame and _weights_agree(figures):
        corrected = Verdict(Status.OK_CORRECTED, f"{why}; weighted draws are reliable")
        return _but_for_noise(corrected, figures)
    if shares and within and covered:
        return Verdict(Status.UNRELIABLE_REFERENCE, why, ("n_eval", *_sizes(figures)))
    if not tame:
        why += f", Pareto k {figures.pareto_k:.2f} of the weights"
    return Verdict(Status.UNDERTRAINED, why, ("first_steps", "steps"))


def _doubt(figures: Figures, thresholds: Thresholds) -> str:
    """What is not surely ok, its error counted against it; empty where all is."""
    gap, gap_se = figures.kl_gap, figures.kl_gap_se
    if gap + 2 * gap_se > thresholds.kl_gap:
        return f"kl_gap {gap:.3g} ± {gap_se:.2g} nats"
    if figures.coverage - 2 * figures.coverage_se < thresholds.coverage:
        return f"coverage {figures.coverage:.3g} ± {figures.coverage_se:.2g}"
    return ""


def _but_for_noise(verdict: Verdict, figures: Figures) -> Verdict:
    """The verdict, unless too much of the move is owed to the noise that q̂ was tuned on."""
    share, error = figures.noise_share, figures.noise_share_se
    if abs(share) + 2 * error <= LARGEST_NOISE_SHARE:
        return verdict
    why = (
        f"{share:.1%} ± {error:.1%} of the move of E f is owed to the fixed noise behind it: "
        f"with fresh noise E f is {figures.fresh_mean:.4g}"
    )
    sure = abs(share) - 2 * error > LARGEST_NOISE_SHARE
    return Verdict(Status.UNDERTRAINED, why, ("f_samples",) if sure else ("f_samples", "n_eval"))


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a path: that of its worst point, the first such."""
    return min(verdicts, key=lambda verdict: SEVERITY.index(verdict.status))


def _without_reference(figures: Figures) -> Verdict:
    reference = figures.reference
    if reference.method in CLIMBED:
        if math.isinf(reference.log_z_se):
            return OUT_OF_REACH
        why = why_unreliable(reference.log_z_se)
        return Verdict(Status.UNRELIABLE_REFERENCE, why, _sizes(figures))
    why = f"{reference.ess:.3g} effective draws of p, Pareto k {reference.pareto_k:.2f}"
    return Verdict(Status.UNRELIABLE_REFERENCE, why, _sizes(figures))


def _sizes(figures: Figures) -> tuple[str, ...]:
    """The setting that a better reference needs raised."""
    return ("n_particles",) if figures.reference.method in CLIMBED else ("n_reference",)


def _contradiction(figures: Figures) -> str:
    """What proves that the reference's log Z is wrong; empty where nothing does.

    −L(β) bounds log Z from below for any q̂; and so, up to a tame error, do the mean weights, and
    those of wide draws. The reference's own draws bound it from above.
    """
    log_z = figures.reference.log_z
    higher = figures.log_z - log_z > _log_z_tolerance(figures)
    below = below_lower_bound(figures.kl_gap, figures.kl_gap_se)
    if below or (_tame(figures) and higher):
        found = f"the tuned model's weights find log Z = {figures.log_z:.4g}"
        return f"{found}, the reference {log_z:.4g}: it has missed mass"
    error = figures.reference.log_z_se
    lower, lower_se = figures.log_z_lower, figures.log_z_lower_se
    if short_of_lower_bound(log_z, error, lower, lower_se):
        found = (
            f"log Z = {log_z:.4g} of the reference is below its bound {lower:.4g} ± {lower_se:.2g}"
        )
        return f"{found}: it has missed mass"
    upper, upper_se = figures.log_z_upper, figures.log_z_upper_se
    if above_upper_bound(log_z, error, upper, upper_se):
        return f"log Z = {log_z:.4g} of the reference is above its bound {upper:.4g}"
    return ""


def _tame(figures: Figures) -> bool:
    """Can figures that rest on q̂'s own weights be relied on?"""
    return figures.pareto_k <= largest_reliable_k(figures.moments.n)


def _log_z_tolerance(figures: Figures) -> float:
    """Four errors of the difference between q̂'s log Z and the reference's, nats."""
    return 4 * math.hypot(figures.log_z_se, figures.reference.log_z_se) + ROUNDING


def _short(figures: Figures) -> bool:
    """Is E f half a deviation short of the tilt's? Then q̂ is still on its way there."""
    missing = figures.reference.mean - figures.moments.mean
    error = math.hypot(figures.moments.mean_se, figures.reference.mean_se)
    return missing > 4 * error + 0.5 * math.sqrt(max(figures.reference.var, 0.0))


def _only_missing(figures: Figures, thresholds: Thresholds) -> bool:
    """Is q̂ right where it is, so that what it misses explains the gap?

    A model that is exact on a share c of the tilt, and nowhere else, has a gap of −log c.
    """
    explained = -math.log(max(figures.coverage, 1e-300)) + 2 * thresholds.kl_gap
    return figures.precision >= thresholds.precision and figures.kl_gap <= explained


def _lost_class(figures: Figures, thresholds: Thresholds) -> str:
    """The class that lost more than half of its share, in words; empty if there is none."""
    for label, (share, exact) in enumerate(
        zip(figures.class_shares, figures.class_shares_ref, strict=True)
    ):
        # Of share − exact / 2; each share rests on draws of its own.
        error = math.hypot(
            math.sqrt(share * (1 - share) / figures.moments.n),
            math.sqrt(exact * (1 - exact) / max(figures.n_compare, 1)) / 2,
        )
        if exact >= thresholds.class_share and share < exact / 2 - 2 * error:
            return f"class {label} has {share:.1%} of the draws instead of {exact:.1%}"
    return ""


def _weights_agree(figures: Figures) -> bool:
    """Do q̂'s own weights carry enough draws, and the reference's log Z within four errors?"""
    enough = figures.ess_fraction * figures.moments.n >= MIN_ESS
    return enough and abs(figures.log_z - figures.reference.log_z) <= _log_z_tolerance(figures)
