"""`btgm prob`: exact tails of a small run, return levels, what is refused and what is not told."""

import json
import math
import sys

import pandas as pd
import pytest
import torch
from scipy.stats import norm

from btgm_cli import TunedModel, load_model, load_run
from btgm_cli.cli import main, prob
from btgm_cli.cli.staircases import DATA_DRAWS, of_data
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Status
from btgm_cli.domains.analytic.gaussian import Gaussian
from tests.oracle import Affine, unit_direction
from tests.test_cli import GAUSSIAN, SMALL

DIM = 3


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tilt of a Gaussian in three dimensions, at β = 0, 1 and 2."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main([*GAUSSIAN, *SMALL, "target.betas=[0,1,2]", "samples=2", f"out={out}"]) == 0
    return out


@pytest.fixture
def exact(run, monkeypatch):
    """The same run, its flows replaced by the exact tilts of β = 2 and 4."""
    loaded = load_run(run)
    loaded.tuned = lambda beta: TunedModel(loaded.model, Affine(2 * beta * unit_direction(DIM)))
    monkeypatch.setattr(prob, "load_run", lambda path: loaded)
    return loaded


def about(folder):
    return json.loads((folder / "probability.json").read_text())


def test_a_run_tells_normal_tails(run, tmp_path, capsys):
    """The flows are barely trained: the weights mend it."""
    out = tmp_path / "found"
    assert main(["prob", str(run), "above=0,1,2,2.5", "n=9000", f"out={out}"]) == 0
    table, told = pd.read_csv(out / "probability.csv"), capsys.readouterr().out
    for _, row in table.iterrows():
        assert abs(row["probability"] / norm.sf(row["t"]) - 1) < 4 * row["relative_se"] < 0.5
        assert row["low"] < row["probability"] < row["high"]
    assert list(table["status"]) == ["ok"] * 4
    assert set(table["evaluations"]) == {9000}
    assert "P(f > 2.5) = 0.006" in told
    assert "design point 1: |z| = 2.500, f = 2.5, log p = -5.88, 100.0% of P(f > 2.5)" in told
    (point,) = pd.read_csv(out / "design_points.csv").to_dict("records")
    direction = torch.tensor([point[f"z_{index}"] for index in range(DIM)])
    assert (direction - 2.5 * unit_direction(DIM)).norm() < 0.003
    found = about(out)
    assert 0 < found["design_evaluations"] < 2000
    assert (found["betas"], found["draws_of_p"], found["side"]) == ([1, 2], 3000, "above")
    for kind in ("png", "pdf"):
        assert (out / f"exceedance.{kind}").stat().st_size > 5000
    assert main(["prob", str(run), "above=0", "n=9000", f"out={out}"]) == 2
    assert "already holds probability.json" in capsys.readouterr().err


def test_far_tails_periods_and_levels(run, exact, tmp_path):
    out = tmp_path / "found"
    ask = ["above=4.5", "per=year", "rate=52", "levels=[100,1000]", "n=9000", f"out={out}"]
    assert main(["prob", str(run), *ask]) == 0
    (row,) = about(out)["probabilities"]
    assert abs(row["probability"] / norm.sf(4.5) - 1) < 4 * row["relative_se"] < 0.2
    assert row["return_period"] == pytest.approx(1 / (52 * row["probability"]))
    assert row["return_period_low"] < row["return_period"] < row["return_period_high"]
    for row in about(out)["levels"]:
        exact_level = norm.isf(1 / (52 * row["period"]))
        assert row["low"] < row["level"] < row["high"]
        assert abs(row["level"] - exact_level) < row["high"] - row["low"] < 0.15
        assert row["unit"] == "year"


@pytest.mark.slow
def test_below_is_the_other_side(run, exact, tmp_path, capsys):
    out = tmp_path / "found"
    assert main(["prob", str(run), "below=-1,0", "n=9000", f"out={out}"]) == 0
    assert "P(f < -1) = 0.1" in capsys.readouterr().out
    for row in about(out)["probabilities"]:
        assert abs(row["probability"] / norm.cdf(row["t"]) - 1) < 4 * row["relative_se"]


def test_out_of_reach_is_bounded_and_the_exit_code_says_so(run, exact, tmp_path, capsys):
    out = tmp_path / "found"
    ask = ["above=4,40", "levels=1e30", "n=9000", f"out={out}"]
    assert main(["prob", str(run), *ask]) == 3
    told = capsys.readouterr()
    near, far = about(out)["probabilities"]
    assert far["status"] == "upper_bound"
    assert far["probability"] is far["low"] is None
    assert 0 < far["high"] < near["low"] / 10  # far below 3/n: what 200 draws pass is rarer
    assert near["status"] == "ok"
    assert "P(f > 40) < " in told.out
    assert "remedy: tune further, as btgm run model=gaussian criterion=linear" in told.err
    assert about(out)["levels"][0]["level"] is None


@pytest.mark.slow
def test_a_lost_mode_is_told(run, exact, tmp_path, capsys):
    exact.pareto["status"] = str(Status.MODE_DROPPED)
    assert main(["prob", str(run), "above=4", "n=9000", f"out={tmp_path / 'found'}"]) == 3
    assert "verdict is mode_dropped" in capsys.readouterr().out


def test_nan_is_refused_in_a_line(run, exact, tmp_path, capsys):
    def broken(x):
        return torch.where(x[:, 0] > 2, math.nan, x[:, 0])

    exact.f = lambda beta=None: LatentCriterion(exact.model, broken)
    assert main(["prob", str(run), "above=1", "n=9000", f"out={tmp_path / 'found'}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert ": f is NaN for" in lines[0]
    assert not (tmp_path / "found").exists()


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        ([], "above=None: must be given: one threshold, or several as above=30,35,40"),
        (["above=[]"], "above=[]: is empty"),
        (["above=nan"], "above=nan: must be a number or must be a list of numbers"),
        (["above=inf"], "above=inf: must be a finite number"),
        (["above=1,two"], "above='1,two': must be a number, or several as 30,35,40"),
        (["above=1", "below=0"], "below=0: say above= or below=, not both"),
        (["above=1", "per=week"], "per='week': needs rate= as well"),
        (["above=1", "rate=52"], "rate=52: needs per= as well"),
        (["above=1", "per=year", "rate=0"], "rate=0: must be positive and finite"),
        (["levels=1"], "levels=1: must be more draws than one, and 1 draws have 1"),
        (["above=1", "n=10"], "n=10: must be 1000 or more"),
        (["above=1", "noises=0"], "noises=0: must be 1 or more"),
        (["abve=1"], "abve=1: unknown setting (did you mean above?)"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(run, here, capsys, ask, told):
    assert main(["prob", str(run), *ask, "out=found"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert not (here / "found").exists()


def test_without_a_run_there_is_nothing_to_tell(here, capsys):
    assert main(["prob", "nowhere", "above=1"]) == 2
    assert "run directory='nowhere'" in capsys.readouterr().err
    assert main(["prob", "--help"]) == 0
    assert "per=, rate=" in capsys.readouterr().out
    sys.stdout.flush()


def test_the_data_are_beside_the_draws_where_the_model_knows_them(tmp_path, monkeypatch):
    class Known(type(Gaussian())):
        def data_draws(self, n, generator):
            return 1 + torch.randn(n, self.latent_dim, generator=generator)

    def f(x):
        return x[:, 0]

    rows = of_data(LatentCriterion(Known(DIM), f), -1.0, torch.Generator().manual_seed(0))
    one = next(row for row in rows if row["t"] > -1)  # of x ~ N(1, 1)
    exact = norm.cdf(one["t"] - 1)
    assert abs(one["probability"] - exact) < 4 * (exact / DATA_DRAWS) ** 0.5
    assert of_data(LatentCriterion(Gaussian(), f), 1.0, torch.Generator()) == []
    monkeypatch.setenv("BTGM_DATA_DIR", str(tmp_path))  # without data
    assert load_model("vae_energy").data_draws(3, torch.Generator()) is None
