"""A figure's table: ours beside the exact tilt and the paper, at equal β and at equal KL."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from btgm_cli.report.style import column, flags
from btgm_cli.store.rows import numbers_of
from btgm_cli.store.runs import Run

MEASURED = (
    *("kl", "kl_se", "kl_ref", "kl_ref_se", "ref_reliable"),
    *("mean_f", "mean_f_se", "mean_f_ref", "mean_f_ref_se"),
    *("kl_gap", "kl_gap_se", "ess_fraction", "coverage", "status"),
)
"""Columns taken over from `pareto.csv`."""


def compared(kl: Mapping[float, float], runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    """A row for each β of each run, with the paper's KL by β, nats, where there is one."""
    rows = []
    for tuning, run in runs.items():
        for measured in run.pareto.to_dict("records"):
            kl_paper = kl.get(measured["beta"], math.nan)
            beta, mean = tilt_at(run.theory, kl_paper)
            row = {"tuning": tuning, "beta": measured["beta"], "kl_paper": kl_paper}
            row |= {name: measured[name] for name in MEASURED}
            rows.append(row | {"beta_at_paper_kl": beta, "mean_f_at_paper_kl": mean})
    return rows


def class_shares(runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    """For each β of each run the digits' shares under the tuned model and the exact tilt."""
    rows = []
    for tuning, run in runs.items():
        for measured in run.pareto.to_dict("records"):
            row = {"tuning": tuning, "beta": measured["beta"], "n": measured["n_eval"]}
            row["ref_reliable"] = measured["ref_reliable"]
            for suffix in ("", "_ref"):
                shares = numbers_of(measured[f"class_shares{suffix}"])
                row |= {f"share{suffix}_{label}": share for label, share in enumerate(shares)}
            rows.append(row)
    return rows


def tilt_at(theory: pd.DataFrame, kl: float) -> tuple[float, float]:
    """β and E f of the exact tilt with this KL (nats), by `theory.csv`; NaN beyond its β.

    Only reliable rows count. Between them √KL is taken as linear in β, as it is for small β and
    for a Gaussian f.
    """
    known = theory[flags(theory, "reliable")]
    root = np.sqrt(np.maximum.accumulate(column(known, "kl").clip(min=0)))
    at = math.sqrt(kl)
    if not (len(root) and root[0] <= at <= root[-1]):
        return math.nan, math.nan
    beta, mean = (np.interp(at, root, column(known, name)) for name in ("beta", "mean_f"))
    return float(beta), float(mean)
