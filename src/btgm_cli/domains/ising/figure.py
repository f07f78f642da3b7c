"""`btgm figure ising`: the Ising model across its critical point, against what is exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.ising.exact import enumerated, kaufman, mean_field
from btgm_cli.domains.ising.field import IsingField
from btgm_cli.domains.ising.pictures import critical_figure, curves
from btgm_cli.domains.ising.thermodynamics import States
from btgm_cli.report import save
from btgm_cli.report.figure import path_of
from btgm_cli.report.markdown import Row, signed, table
from btgm_cli.store.files import write_text
from btgm_cli.store.loaded import LoadedRun
from btgm_cli.store.tables import read_table, write_table
from btgm_cli.tuned.correction import Correct, Corrector

TABLE, CURVES = "ising", "curves"


@dataclass(frozen=True)
class CriticalPoint:
    """A `report.figure.PaperFigure`: a run for each coupling of a 4 × 4 torus.

    Args:
        name: of the figure.
        couplings: K of each run.
        draws: states behind each figure.
        betas: of the runs, in place of their own.
    """

    name: str
    couplings: Sequence[float]
    draws: int = 50_000
    betas: list[float] | None = None

    def runs(self) -> dict[str, list[str]]:
        """A run for each coupling."""
        return {
            f"K{coupling:g}": [
                "experiment=ising",
                f"model.coupling={coupling}",
                *path_of(self.betas),
            ]
            for coupling in self.couplings
        }

    def make(self, runs: Mapping[str, LoadedRun], out: Path) -> list[Path]:
        """Measure the states; write their tables, the page's and the picture."""
        rows = [measured_row(run, self.draws) for run in runs.values()]
        tables = {TABLE: rows, CURVES: curves(rows[0]["size"])}
        for name, of_rows in tables.items():
            write_table(out / f"{name}.csv", of_rows)
        text = out / f"{self.name}.md"
        write_text(text, page(rows))
        picture = critical_figure(*(read_table(out / f"{name}.csv") for name in tables))
        drawn = [save(picture, out / f"{self.name}.{kind}") for kind in ("png", "pdf")]
        return [*(out / f"{name}.csv" for name in tables), text, *drawn]


def measured_row(run: LoadedRun, draws: int) -> Row:
    """What one run tells at β = 1, tuned and corrected, beside what is exact; nats and J."""
    model, point = run.model, run.pareto.iloc[run.index(1.0)]
    assert isinstance(model, IsingField)
    generator = derived_generator(0, "ising", model.coupling)
    corrector = Corrector(run.tuned(1.0), run.f(1.0), 1.0, Correct.RESAMPLE, generator)
    corrected = States.of(model, corrector, draws, generator).measured(weighted=True)
    plain = Corrector(run.tuned(1.0), run.f(1.0), 1.0, Correct.NONE, generator)
    tuned = States.of(model, plain, draws, generator).measured(weighted=False)
    size, coupling, field = model.size, model.coupling, model.field
    exact = enumerated(size, coupling, field) if size <= 4 else kaufman(size, coupling)
    log_z = float(point["log_z_ref"]) - model.log_z_offset
    return {
        "size": size,
        "coupling": coupling,
        "verdict": str(point["status"]),
        "log_z": log_z,
        "log_z_se": float(point["log_z_ref_se"]),
        "log_z_exact": exact.log_z,
        "kl_gap": float(point["kl_gap"]),
        "kl_gap_se": float(point["kl_gap_se"]),
        "ess_fraction": float(point["ess_fraction"]),
        "mean_field_gap": exact.log_z - mean_field(size, coupling, field),
        **{f"{name}_tuned": value for name, value in asdict(tuned).items()},
        **{f"{name}_corrected": value for name, value in asdict(corrected).items()},
        **{f"{name}_exact": value for name, value in asdict(exact).items() if name != "log_z"},
        "f_evals": int(point["f_evals"]),
        "seconds": float(point["seconds"]),
    }


def page(rows: Sequence[Row]) -> str:
    """The rows in two tables: free energies, and what spins tell."""
    head = ["K", "log Z, nats", "exact", "kl_gap, nats", "mean field's gap", "up", "verdict"]
    body = [
        [
            f"{row['coupling']:g}",
            f"{row['log_z']:.4f} ± {row['log_z_se']:.4f}",
            f"{row['log_z_exact']:.4f}",
            f"{row['kl_gap']:.3f} ± {row['kl_gap_se']:.3f}",
            f"{row['mean_field_gap']:.3f}",
            f"{100 * row['up_tuned']:.1f} %",
            row["verdict"],
        ]
        for row in rows
    ]
    names = {"energy": "energy, J", "heat_capacity": "heat capacity, k_B", "magnetization": "|m|"}
    spins_head = ["K", "of one spin", "tuned", "corrected", "exact"]
    spins = [
        [
            f"{row['coupling']:g}",
            text,
            *(_with_error(row, name, way) for way in ("tuned", "corrected")),
            signed(row[f"{name}_exact"], 4),
        ]
        for row in rows
        for name, text in names.items()
    ]
    return f"{table(head, body)}\n{table(spins_head, spins)}"


def _with_error(row: Row, name: str, way: str) -> str:
    return f"{signed(row[f'{name}_{way}'], 4)} ± {row[f'{name}_se_{way}']:.4f}"
