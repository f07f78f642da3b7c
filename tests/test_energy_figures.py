"""Figures of load curves, dated scenarios, and the bench of load, all at quick sizes."""

import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from experiments.bench.rivals import weighted_quantile

from btgm_cli.cli import main
from btgm_cli.cli.config import compose_config
from btgm_cli.cli.recipes import QUICK, load_figure
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.load.scenario_pictures import scenarios_figure
from btgm_cli.domains.load.scenarios import Scenarios, band, timestamps
from btgm_cli.store.data_dir import DATA_DIR_VARIABLE
from btgm_cli.truth.price import by_rejection
from btgm_cli.truth.trust import TiltDraws
from btgm_cli.tuned.model import TunedModel
from tests.marks import slow
from tests.oracle import Affine

TINY = [*QUICK, "target.rho=null", "target.betas=[0,0.05]", "tuning.first_steps=2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The quick Fig. 2, made where no data are."""
    out = tmp_path_factory.mktemp("weeks")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv(DATA_DIR_VARIABLE, str(out / "none"))
        assert main(["figure", "fig2", "quick=true"]) == 0
    return out / "outputs" / "figures" / "quick" / "fig2"


@pytest.fixture(scope="module")
def made_with_data(made, tmp_path_factory):
    """The same figure of the same runs, made where there are twelve households in six weeks."""
    out, data = tmp_path_factory.mktemp("again"), tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    (data / "energy").mkdir()
    np.savez(
        data / "energy" / "weekly_load.npz",
        load_kw=generator.gamma(0.5, 1.0, (72, 336)),
        household=np.tile(np.arange(12), 6),
        week_start=np.repeat(np.datetime64("2013-01-07") + 7 * np.arange(6), 12),
    )
    shutil.copytree(made, out / "fig2")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv(DATA_DIR_VARIABLE, str(data))
        assert main(["figure", "fig2", "quick=true", "out=fig2"]) == 0
    return out / "fig2"


@pytest.mark.slow
def test_where_the_data_are_they_are_tilted_to_the_same_kl(made_with_data):
    table = pd.read_csv(made_with_data / "fig2.csv")
    whose = ["p", "tuned", "exact", "real", "real_tilt"]
    assert table["who"].tolist() == whose * 2
    by_who = table.set_index(["criterion", "who"])
    for criterion in ("peak", "wednesday_excess"):
        real, tilted = by_who.loc[(criterion, "real")], by_who.loc[(criterion, "real_tilt")]
        assert (real["beta"], real["kl"]) == (0, 0)
        assert tilted["kl"] == pytest.approx(tilted["target_kl"], rel=1e-3)
        assert tilted["mean_f"] > real["mean_f"]
        assert abs(real["f_of_samples"] - real["mean_f"]) < 1
    page = (made_with_data / "fig2.md").read_text()
    assert "real, tilted" in page
    assert "left out" not in page
    curves = pd.read_csv(made_with_data / "curves.csv")
    assert {"peak_real_0", "peak_real_tilt_mean"} <= set(curves)


@pytest.mark.slow
def test_fig2_tells_of_p_the_tuned_model_and_the_exact_tilt(made):
    table = pd.read_csv(made / "fig2.csv")
    assert table["criterion"].unique().tolist() == ["peak", "wednesday_excess"]
    assert table["who"].tolist() == ["p", "tuned", "exact"] * 2
    assert table["peak_kw"].between(5, 30).all()
    assert (table["peak_q99_kw"] >= table["peak_kw"]).all()
    assert table["energy_kwh"].between(300, 2000).all()
    assert table["diversity_kw"].between(0.5, 10).all()
    assert table["above_real_q99"].between(0, 1).all()
    page = (made / "fig2.md").read_text()
    assert "99 % quantile of real" in page
    assert "left out" in page


@pytest.mark.slow
def test_fig2_is_drawn_from_a_table_of_half_hours(made):
    curves = pd.read_csv(made / "curves.csv")
    assert len(curves) == 336
    assert not [name for name in curves if name.startswith("real")]
    assert (curves.filter(regex="_sd$") >= 0).all(axis=None)
    assert (made / "fig2.png").read_bytes().startswith(b"\x89PNG")
    assert (made / "fig2.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(("name", "rho"), [("fig8", 1e-4), slow("fig2", 0.01), slow("fig9", 0.01)])
def test_each_figure_has_its_experiments_and_the_papers_budget(name, rho):
    runs, quick = load_figure(name).runs(), load_figure(name, quick=True).runs()
    assert len(runs) == 2
    for criterion, overrides in runs.items():
        cfg = compose_config("run", overrides)
        assert cfg.target.rho == rho
        assert cfg.model._target_.endswith("load_vae")
        assert quick[criterion][0] == overrides[0] == f"experiment={name}_{criterion}"
        assert compose_config("run", quick[criterion]).target.betas == [0, 0.05]
    assert -math.log(0.01) == pytest.approx(4.61, abs=0.01)


def test_energy_peak_asks_for_a_thousand_scenarios():
    cfg = compose_config("run", ["experiment=energy_peak"])
    assert (cfg.scenarios.n, cfg.target.rho) == (1000, 0.01)


@pytest.mark.slow
def test_a_run_leaves_dated_curves_in_kw(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    settings = [*TINY, "scenarios.n=3", "scenarios.week=2027-03-01", "out=run"]
    assert main(["run", "experiment=energy_peak", *settings]) in (0, 3)
    table = pd.read_csv("run/scenarios.csv")
    assert table.columns.tolist() == ["timestamp", "s0001", "s0002", "s0003"]
    at = pd.to_datetime(table["timestamp"])
    assert len(at) == 336
    assert table["timestamp"].iloc[0] == "2027-03-01T00:00:00"
    assert table["timestamp"].iloc[-1] == "2027-03-07T23:30:00"
    assert (at.diff().dropna() == pd.Timedelta(minutes=30)).all()
    kw = table.drop(columns="timestamp")
    assert kw.max().between(3, 60).all()
    assert (kw >= 0).all(axis=None)
    assert np.allclose(
        kw.mean(axis=1), pd.read_csv("run/scenarios_bands.csv")["tuned_mean"], atol=1e-4
    )
    before = Path("run/scenarios.png").read_bytes()
    assert before.startswith(b"\x89PNG")
    assert main(["report", "run"]) == 0
    assert Path("run/scenarios.png").read_bytes() == before
    assert np.load("run/reference.npy").shape == (1000, 12)


@pytest.mark.slow
def test_curves_of_p_do_not_pass_for_curves_that_nothing_can_make(tmp_path, monkeypatch, capsys):
    """After an infeasible target the last β is 0, and the tuned model is p."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # A coupling flow: an autoregressive one takes 336 passes to invert.
    flow = ["flow=spline_coupling", "flow.depth=1", "flow.hidden=[4]"]
    model = ["model=gaussian", "model.latent_dim=336", *flow]
    asked = ["criterion=quadratic", "target.C_f=1", "scenarios.n=3", "out=run"]
    assert main(["run", *model, *asked, *QUICK]) == 3
    told = "scenarios.csv not written: the run's verdict is infeasible_target"
    assert told in capsys.readouterr().out
    assert not list(Path("run").glob("scenarios*"))


def tilt_draws(beta, row, run=Status.UNDERTRAINED):
    """An untrained flow for the tilt of a criterion along the sum of 336 coordinates."""
    model = Gaussian(336)
    tuned = TunedModel(model, Affine(torch.zeros(336)), None)
    f = LatentCriterion(model, Linear())
    return TiltDraws(tuned, f, beta, run, row, derived_generator(0))


@pytest.mark.parametrize("row", [Status.OK, Status.UNDERTRAINED, Status.OK_CORRECTED])
def test_a_model_that_is_its_tilt_makes_scenarios(tmp_path, row):
    assert not Scenarios(2).write(tmp_path, tilt_draws(0.0, row))
    assert len(pd.read_csv(tmp_path / "scenarios.csv")) == 336


@pytest.mark.parametrize(
    ("beta", "row", "run"),
    [
        (0.0, Status.MODE_DROPPED, Status.MODE_DROPPED),
        (0.0, Status.UNRELIABLE_REFERENCE, Status.UNDERTRAINED),
        (0.0, Status.OK, Status.INFEASIBLE),
        (8.0, Status.UNDERTRAINED, Status.UNDERTRAINED),
    ],
)
def test_scenarios_are_not_made_where_the_verdict_or_the_weights_say_no(tmp_path, beta, row, run):
    told = Scenarios(2).write(tmp_path, tilt_draws(beta, row, run))
    assert told.startswith("scenarios.csv not written: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["scenarios.n=-1"], "scenarios.n=-1: must be 0, or 2 or more"),
        (["scenarios.n=1"], "scenarios.n=1: must be 0, or 2 or more"),
        (["scenarios.n=many"], "scenarios.n='many': must be a whole number"),
        (["scenarios.week=2026-01-06"], "scenarios.week='2026-01-06': must be a Monday"),
        (["scenarios.week=soon"], "scenarios.week='soon': must be a Monday"),
        (["scenarios.day=1"], "scenarios.day"),
        (["scenarios.n=5", "model=gan_mnist"], "x here is (1, 28, 28)"),
        (["scenarios.n=5", "model=gaussian", "criterion=linear"], "weekly load curves; x here"),
    ],
)
def test_bad_scenarios_are_one_line_before_any_work(tmp_path, monkeypatch, capsys, settings, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["run", *settings]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_timestamps_follow_the_points_of_the_week():
    assert str(timestamps("2026-01-05", 168)[1]) == "2026-01-05 01:00:00"
    assert str(timestamps("2026-01-05", 672)[-1]) == "2026-01-11 23:45:00"
    with pytest.raises(SettingError, match="must be a Monday"):
        Scenarios(2, "2026-13-01")


def test_a_band_is_mean_and_deviation_over_the_curves():
    assert band(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), "p_") == {
        "p_mean": [2.0, 2.0],
        "p_sd": [math.sqrt(2), 0.0],
    }


def test_the_picture_of_scenarios_needs_its_tables_alone():
    names = ("p_mean", "p_sd", "tuned_mean", "tuned_sd")
    bands = pd.DataFrame({name: np.ones(336) for name in names})
    curves = pd.DataFrame({"timestamp": ["2026-01-05T00:00:00"] * 336, "s0001": np.ones(336)})
    figure = scenarios_figure(bands, curves, "heading")
    assert [axes.get_ylabel() for axes in figure.axes] == ["kW", "kW"]
    assert figure.axes[1].get_xticklabels(minor=True)[0].get_text() == "Mon"


def test_a_weighted_quantile_is_by_weight():
    f = torch.tensor([3.0, 1.0, 2.0])
    assert weighted_quantile(f, torch.ones(3), 0.5) == 2
    assert weighted_quantile(f, torch.tensor([0.1, 0.8, 0.1]), 0.5) == 1
    assert weighted_quantile(f, torch.ones(3), 1.0) == 3


def test_rejection_beyond_all_numbers_is_infinite():
    assert by_rejection(1.0, 2.0, 2.0) == 1
    assert by_rejection(20.0, 60.0, 1.0) == math.inf
