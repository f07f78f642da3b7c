"""The tables of the load figures in Markdown, ready for their pages."""

from __future__ import annotations

from collections.abc import Sequence

from btgm_cli.report.markdown import Row, signed, table

NAMES = {
    "p": "p",
    "tuned": "tuned",
    "exact": "exact tilt",
    "real": "real",
    "real_tilt": "real, tilted",
}


def weeks_page(rows: Sequence[Row], real_q99: float, missing: str = "") -> str:
    """The tables of `weeks.make`: what was reached, then what the samples look like."""
    head = ["criterion", "C_D", "KL (exact), nats", "E f (exact), kW", "`kl_gap`, nats"]
    head += ["`ess_fraction`", "verdict"]
    by_name = {(row["criterion"], row["who"]): row for row in rows}
    reached = [
        _reached_line(row, by_name.get((row["criterion"], "exact"), {}))
        for row in rows
        if row["who"] == "tuned"
    ]
    looks = ["criterion", "samples of", "f, kW", "weekly peak, kW", "its 99 % quantile, kW"]
    looks += [f"peak above {real_q99:.1f} kW", "energy, kWh", "diversity, kW"]
    body = [
        [
            f"`{row['criterion']}`",
            NAMES[row["who"]],
            signed(row["f_of_samples"]),
            f"{row['peak_kw']:.1f}",
            f"{row['peak_q99_kw']:.1f}",
            f"{100 * row['above_real_q99']:.1f} %",
            f"{row['energy_kwh']:.0f}",
            f"{row['diversity_kw']:.2f}",
        ]
        for row in rows
    ]
    parts = [
        table(head, reached),
        f"Of {rows[0]['n']:,} fresh samples each. {real_q99:.1f} kW is the 99 % quantile of real "
        "weekly peaks; diversity is the standard deviation across samples, mean over the week. "
        "*Real, tilted* is the exact tilt of the real aggregates to the same KL.\n",
        table(looks, body),
    ]
    return "\n".join([*parts, *([f"{missing}\n"] if missing else [])])


def _reached_line(row: Row, exact: Row) -> list[str]:
    def with_exact(name: str) -> str:
        known = f" ({signed(exact[name])} ± {exact[f'{name}_se']:.2f})" if exact else ""
        return f"{signed(row[name])}{known}"

    return [
        f"`{row['criterion']}`",
        f"{row['target_kl']:.2f}",
        with_exact("kl"),
        with_exact("mean_f"),
        f"{signed(row['kl_gap'], 3)} ± {row['kl_gap_se']:.3f}",
        f"{row['ess_fraction']:.2f}",
        f"`{row['status']}`",
    ]
