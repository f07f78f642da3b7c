"""Probabilities, return periods and levels: judged, written, drawn and told."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from btgm_cli import __version__
from btgm_cli.cli.asked_probabilities import Asked
from btgm_cli.cli.design_files import DESIGN_FILES, Design, design_of, tell_design, write_design
from btgm_cli.cli.staircases import DATA_DRAWS, of_data, of_prior
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.report.exceedance import (
    ABOUT,
    CURVE,
    DATA,
    EMPIRICAL,
    LEVELS,
    TABLE,
    draw_exceedance,
)
from btgm_cli.store.files import require_free_of, require_writable, write_json
from btgm_cli.store.tables import finite_or_none, write_table
from btgm_cli.tilt.exceedance import (
    PRIOR,
    WeightedDraws,
    return_level,
)
from btgm_cli.truth.exceeding import Judged, Pooled, Trust, judged

FILES = (
    ABOUT,
    TABLE,
    CURVE,
    EMPIRICAL,
    DATA,
    LEVELS,
    "exceedance.png",
    "exceedance.pdf",
    *DESIGN_FILES,
)

CURVE_POINTS = 40
"""Thresholds of the band that is drawn."""

PASSED = (200, 500, 2000)
"""How many draws may pass a t whose upper limit bounds what no draw has reached."""

Remedy = Callable[[Trust, float], str]
"""What to do where the interval at ±t is not to be believed."""


@dataclass(frozen=True)
class Answer:
    """Draws, and all that is to be said of where they come from.

    Args:
        asked: what is wanted.
        pooled: all draws, of ±f.
        halves: pairs of halves that are to agree, the more telling pair first.
        lost: why the draws above a threshold may lack a part, or an empty text.
        about: where they come from, as JSON has it, with `model` and `criterion`.
        remedy: what mends an interval.
        evaluations: of f, all that it took.
        f: the latent criterion.
        generator: of the x that are shown at design points.
    """

    asked: Asked
    pooled: Pooled
    halves: Sequence[Sequence[WeightedDraws]]
    lost: Callable[[WeightedDraws, float], str]
    about: Mapping[str, Any]
    remedy: Remedy
    evaluations: int
    f: LatentCriterion
    generator: torch.Generator

    @property
    def whole(self) -> WeightedDraws:
        """All draws."""
        return self.pooled.whole

    def at(self, whole: WeightedDraws, t: float) -> Judged:
        """P(±f > t), judged."""
        return judged(whole, t, self.halves, self.lost(whole, t))


def require_place(out: Path) -> None:
    """Refuse a folder that cannot be written to, or that has an answer already."""
    require_writable("out", out)
    require_free_of(out, FILES)


def answered(answer: Answer, out: Path) -> int:
    """Judge, write, draw and tell; 0, or 3 where an interval is not to be believed."""
    whole, asked = answer.whole, answer.asked
    bound = _bound(answer, whole)
    rows = [_row(answer, answer.at(whole, t), bound) for t in asked.thresholds]
    levels = [_level(answer, whole, p) for p in asked.rare]
    design = _design(answer, rows, levels)
    data = of_data(answer.f, asked.sign, derived_generator(answer.about["seed"], "data"))
    n_prior = int((answer.pooled.source == PRIOR).sum())
    about: dict[str, Any] = {
        **answer.about,
        "side": asked.side,
        "per": asked.per,
        "rate": asked.rate,
        "evaluations": answer.evaluations,
        "design_evaluations": design.evaluations if design else 0,
        "draws": len(whole),
        "draws_of_p": n_prior,
        "draws_of_data": DATA_DRAWS if data else 0,
        "noises": whole.f.shape[1],
        "threads": torch.get_num_threads(),
        "version": __version__,
        "probabilities": [_json(row) for row in rows],
        "levels": [_json(row) for row in levels],
    }
    write_table(out / TABLE, rows)
    if levels:
        write_table(out / LEVELS, levels)
    write_table(out / CURVE, _curve(answer, whole, levels))
    write_table(out / EMPIRICAL, of_prior(answer.pooled, asked.sign))
    if data:
        write_table(out / DATA, data)
    write_json(out / ABOUT, about)
    draw_exceedance(out)
    if design:
        write_design(design, answer.f, asked.sign, answer.generator, out)
    return _tell(answer, rows, levels, design, out)


def _design(
    answer: Answer, rows: Sequence[Mapping[str, Any]], levels: Sequence[Mapping[str, Any]]
) -> Design | None:
    """The design points of the rarest threshold that may be believed; None where none may."""
    sign = answer.asked.sign
    asked = [(row["t"], row) for row in rows] + [(row["level"], row) for row in levels]
    known = [sign * t for t, row in asked if row["status"] == Trust.OK]
    return design_of(answer.f, answer.pooled, sign, max(known)) if known else None


def _bound(answer: Answer, whole: WeightedDraws) -> float:
    """An upper bound of P beyond all draws: the upper limit at a t that enough of them pass."""
    farthest = whole.f.amax(-1).sort(descending=True).values
    for rank in PASSED:
        if rank < len(farthest) and math.isfinite(t := farthest[rank].item()):
            one = answer.at(whole, t)
            if one.trust is Trust.OK:
                return one.found.high
    return 1.0


def _row(answer: Answer, one: Judged, unreached: float) -> dict[str, Any]:
    """A row of `probability.csv`; an interval that is not to be believed is not in it."""
    found, asked = one.found, answer.asked
    ok, bound = one.trust is Trust.OK, one.trust is Trust.UPPER_BOUND
    p, high = (found.probability, found.high) if ok else (math.nan, math.nan)
    if bound:
        high = min(found.high, unreached)
    row = {
        "t": asked.sign * found.t + 0.0,
        "probability": p,
        "low": found.low if ok else math.nan,
        "high": high,
        "relative_se": found.relative_se if ok else math.nan,
        "effective_draws": found.effective,
        "pareto_k": found.pareto_k,
        "evaluations": answer.evaluations,
        "status": str(one.trust),
        "reason": one.reason,
        "remedy": "" if ok else answer.remedy(one.trust, found.t),
    }
    if asked.per is not None:
        ends = (p, high, found.low) if ok else (math.nan,) * 3
        names = ("return_period", "return_period_low", "return_period_high")
        row |= {name: asked.period(end) for name, end in zip(names, ends, strict=True)}
    return row


def _level(answer: Answer, whole: WeightedDraws, probability: float) -> dict[str, Any]:
    """A row of `levels.csv`: the t that is passed once in so long, as far as it can be told."""
    asked = answer.asked
    level, low, high = return_level(whole, probability)
    if math.isnan(level):
        one = None
        trust, reason = Trust.FEW_DRAWS, "the draws do not reach so far"
    else:
        one = answer.at(whole, level)
        trust, reason = one.trust, one.reason
    ok = trust is Trust.OK
    ends = [asked.sign * end + 0.0 if ok else math.nan for end in (low, high)]
    return {
        "period": asked.period(probability),
        "unit": asked.unit,
        "probability": probability,
        "level": asked.sign * level + 0.0 if ok else math.nan,
        "low": min(ends),
        "high": max(ends),
        "effective_draws": one.found.effective if one else 0.0,
        "status": str(trust),
        "reason": reason,
        "remedy": "" if ok else answer.remedy(trust, level),
    }


def _curve(
    answer: Answer, whole: WeightedDraws, levels: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The band of the picture: from the middle of p to the farthest that is asked for."""
    asked, pooled = answer.asked, answer.pooled
    middle = pooled.f[pooled.source == PRIOR].median().item()
    known = [asked.sign * row["level"] for row in levels if not math.isnan(row["level"])]
    ends = [middle, *asked.thresholds, *known]
    low, high = min(ends), max(ends)
    if not (math.isfinite(low) and high > low):
        return []
    rows = []
    for t in torch.linspace(low, high, CURVE_POINTS, dtype=torch.double).tolist():
        one = answer.at(whole, t)
        ok = one.trust is Trust.OK
        numbers = (one.found.probability, one.found.low, one.found.high)
        p, p_low, p_high = numbers if ok else (math.nan,) * 3
        at = {"t": asked.sign * t + 0.0, "probability": p, "low": p_low, "high": p_high}
        rows.append({**at, "status": str(one.trust)})
    return sorted(rows, key=lambda row: row["t"])


def _json(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: finite_or_none(value) for name, value in row.items()}


def _tell(
    answer: Answer,
    rows: Sequence[Mapping[str, Any]],
    levels: Sequence[Mapping[str, Any]],
    design: Design | None,
    out: Path,
) -> int:
    """What the terminal shows; the exit code."""
    sign = ">" if answer.asked.sign > 0 else "<"
    for row in rows:
        print(f"P(f {sign} {row['t']:g}) {_told(row)}{_period(answer.asked, row)}")
    for row in levels:
        every = f"once in {row['period']:g} {row['unit']}: f {sign}"
        if row["status"] == Trust.OK:
            print(f"{every} {row['level']:.6g}  [{row['low']:.6g}, {row['high']:.6g}]  ok")
        else:
            print(f"{every} ?  {row['status']}: {row['reason']}")
    if design:
        tell_design(design, answer.asked.sign)
    bad = [row for row in (*rows, *levels) if row["status"] != Trust.OK]
    for remedy in dict.fromkeys(row["remedy"] for row in bad):
        print(f"btgm prob: remedy: {remedy}", file=sys.stderr)
    print(out)
    return 3 if bad else 0


def _told(row: Mapping[str, Any]) -> str:
    if row["status"] == Trust.OK:
        return f"= {row['probability']:.4g}  [{row['low']:.4g}, {row['high']:.4g}]  ok"
    if row["status"] == Trust.UPPER_BOUND:
        return f"< {row['high']:.3g}  {row['status']}: {row['reason']}"
    return f"= ?  {row['status']}: {row['reason']}"


def _period(asked: Asked, row: Mapping[str, Any]) -> str:
    """The return period behind the probability, where that is asked for and known."""
    if asked.per is None or row["status"] != Trust.OK:
        return ""
    ends = f"{row['return_period_low']:.4g}, {row['return_period_high']:.4g}"
    return f"; once in {row['return_period']:.4g} {asked.unit} [{ends}]"
