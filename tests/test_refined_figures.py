"""Figs. 10 and 11: what is written and drawn from runs, or norms, whose numbers are known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from btgm_cli.cli import figure
from btgm_cli.cli.config import compose_config
from btgm_cli.domains.digits.figures.gradients import histogram
from btgm_cli.domains.digits.figures.pictures import paths_and_grids
from btgm_cli.domains.digits.figures.slopes import BINS, CUT, norm_figures, slopes_figure
from btgm_cli.domains.digits.figures.tuned import RefinedDigits
from btgm_cli.store.runs import Run

BETAS = (0.0, 0.125, 0.25, 1.0)
KL = {0.0: 0.0, 0.125: 0.6, 0.25: 1.4}
"""The paper's; its grid ends before the path does."""


def a_run(path, share_of_ones=0.1) -> Run:
    """Rows of f = a·z with |a| = 1, where E f = β and KL = β²/2, reached in part."""
    beta = np.array(BETAS)
    shares = [share_of_ones, *[(1 - share_of_ones) / 9] * 9]
    measured = {
        **{"kl": beta**2 / 4, "kl_ref": beta**2 / 2, "mean_f": beta / 2, "mean_f_ref": beta},
        **{f"{name}_se": 0.01 for name in ("kl", "kl_ref", "mean_f", "mean_f_ref", "kl_gap")},
        **{"kl_gap": 0.1, "ess_fraction": 0.5, "coverage": 1.0, "status": "ok", "n_eval": 1000},
        **{"ref_method": "psis", "ref_reliable": beta < 1},
        "class_shares": " ".join(map(str, shares)),
        "class_shares_ref": " ".join(["0.1"] * 10),
    }
    grid = np.linspace(0, 1, 21)
    theory = {"beta": grid, "mean_f": grid, "kl": grid**2 / 2, "mean_f_se": 0.0, "kl_se": 0.0}
    return Run(
        path=path,
        pareto=pd.DataFrame({"beta": beta, **measured}),
        trace=pd.DataFrame(),
        theory=pd.DataFrame({**theory, "reliable": grid < 1, "method": "psis"}),
        summary={"model": "vae_mnist", "criterion": "discriminator", "status": "ok"},
        samples=[np.full((16, 1, 28, 28), b, dtype=np.float32) for b in BETAS],
    )


def test_fig10_writes_both_tunings_and_their_digits_beside_the_exact_tilts(tmp_path):
    runs = {"paper": a_run(tmp_path, share_of_ones=0.55), "default": a_run(tmp_path)}
    loaded = {name: SimpleNamespace(run=run) for name, run in runs.items()}
    written = RefinedDigits("fig10", KL).make(loaded, tmp_path)
    assert {path.name for path in written} == {
        *("fig10.csv", "shares.csv", "fig10.md", "fig10.png", "fig10.pdf")
    }
    rows = pd.read_csv(tmp_path / "fig10.csv")
    assert rows["tuning"].tolist() == ["paper"] * 4 + ["default"] * 4
    assert rows["kl_paper"].isna().tolist() == [False, False, False, True] * 2
    # KL = β²/2 is 0.6 beyond β = 1; the exact tilt is known below that.
    assert rows["beta_at_paper_kl"].isna().tolist() == [False, True, True, True] * 2
    shares = pd.read_csv(tmp_path / "shares.csv")
    ours = shares[[f"share_{label}" for label in range(10)]]
    assert np.allclose(ours.sum(axis=1), 1)
    assert np.allclose(ours["share_0"], [0.55] * 4 + [0.1] * 4)
    assert np.allclose(shares[[f"share_ref_{label}" for label in range(10)]], 0.1)
    page = (tmp_path / "fig10.md").read_text()
    assert "| `paper` | 0.125 | 55.0 (10.0) | 5.0 (10.0) |" in page
    assert "| `default` | 1 | 10.0 (10.0?) |" in page  # the exact tilt is not reliable there


def test_fig10_draws_the_exact_tilt_with_its_error_and_the_papers_rows_of_samples(tmp_path):
    drawn = paths_and_grids({"paper": a_run(tmp_path), "default": a_run(tmp_path)}, list(KL))
    panels, grids = drawn.axes[:3], drawn.axes[3:]
    for axes, exact in zip(panels[:2], (lambda b: b, lambda b: b**2 / 2), strict=True):
        (line,) = (line for line in axes.lines if line.get_label() == "reference")
        x, y = line.get_data()
        known = np.isfinite(y)
        assert np.allclose(y[known], exact(x[known]))
        assert len(axes.collections) >= 1  # the band
    assert len(grids) == 2
    for axes in grids:
        labels = [text.get_text() for text in axes.get_yticklabels()]
        assert [label.partition("\n")[0] for label in labels] == [f"β = {beta:g}" for beta in KL]


def test_fig10_visits_the_papers_betas_and_goes_on():
    made = figure.load_figure("fig10")
    assert list(made.runs()) == ["paper", "default"]
    for overrides in made.runs().values():
        cfg = compose_config("run", overrides)
        assert cfg.target.betas == [*made.kl, 1, 1.25]
        assert list(made.kl) == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75]
    accept = [
        compose_config("run", runs).tuning.min_acceptance_rate for runs in made.runs().values()
    ]
    assert accept[0] == 1 > accept[1]


NORMS = torch.linspace(0, 40, 4001)


def test_the_norms_of_fig11_are_told_by_quantiles_and_shares():
    found = norm_figures(NORMS)
    assert found["norm_q50"] == pytest.approx(20)
    assert found["norm_q99"] == pytest.approx(39.6)
    assert found["norm_max"] == 40
    assert found["share_within_10"] == pytest.approx(0.25, abs=1e-3)
    assert found["share_above_20"] == pytest.approx(0.5, abs=1e-3)


def test_fig11_draws_the_density_up_to_its_cut_and_tells_the_rest():
    table = pd.DataFrame([{"n": len(NORMS), **norm_figures(NORMS)}])
    drawn = slopes_figure(table, pd.DataFrame(histogram(NORMS, CUT, BINS)))
    (axes,) = drawn.axes
    density, edges, _ = axes.patches[0].get_data()
    assert np.sum(density * np.diff(edges)) == pytest.approx(0.5, abs=1e-3)
    assert axes.texts[0].get_text() == "50.0 % above 20,\nup to 40"
