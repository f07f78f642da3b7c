"""`btgm free-energy`: profiles and differences of Gaussians, a lost basin, what is refused."""

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from btgm_cli import TunedModel, load_run
from btgm_cli.cli import free_energy, main
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.loaded import Kept, LoadedRun
from btgm_cli.tilt.free_energy import difference
from btgm_cli.truth.free_energy import Weighed, contradicted, too_few
from tests.oracle import Affine
from tests.test_cli import GAUSSIAN, SMALL
from tests.test_free_energy import shares

MEAN = 1 / math.sqrt(3)
"""Of x0 under the tilt at β = 1 of N(0, I) in three dimensions by the linear criterion."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two tilts of a Gaussian, at β = 1 and at 0.5."""
    folder = tmp_path_factory.mktemp("runs")
    for name, betas in (("strong", "[0,1]"), ("weak", "[0.5]")):
        settings = [f"target.betas={betas}", "samples=2", f"out={folder / name}"]
        assert main([*GAUSSIAN, *SMALL, *settings]) == 0
    return folder


def about(folder):
    return json.loads((folder / "free_energy.json").read_text())


def test_a_profile_and_a_difference_are_the_closed_forms(runs, tmp_path, capsys):
    out = tmp_path / "found"
    ask = ["along=x0", "range=[-1,2]", "split=0", "bins=20", "n=20000", f"out={out}"]
    assert main(["free-energy", str(runs / "strong"), *ask]) == 0
    table, found = pd.read_csv(out / "profile.csv"), about(out)
    edges = np.linspace(-1, 2, 21)
    assert table["left"].to_numpy() == pytest.approx(edges[:-1])
    exact = np.log(np.diff(edges)) - shares(edges, MEAN).log().numpy()
    assert (abs(table["free_energy_kt"] - exact) < 4 * table["free_energy_kt_se"]).all()
    above = shares([0, math.inf], MEAN).item()
    wanted = math.log((1 - above) / above)
    assert abs(found["delta_f_kt"] - wanted) < 4 * found["delta_f_kt_se"] < 0.2
    assert found["split"] == 0
    assert found["beta"] == 1
    assert "F(x0 > 0) - F(x0 < 0) = -" in capsys.readouterr().out
    for kind in ("png", "pdf"):
        assert (out / f"profile.{kind}").stat().st_size > 5000


def test_an_earlier_beta_and_a_function_of_ones_own(runs, here):
    """At β = 0 twice the first coordinate is N(0, 4)."""
    (here / "double.py").write_text("def twice(x):\n    return 2 * x[:, 0]\n")
    ask = ["along=double:twice", "range=[-3,3]", "split=1", "beta=0", "n=10000", "out=found"]
    assert main(["free-energy", str(runs / "strong"), *ask]) == 0
    found, above = about(here / "found"), shares([0.5, math.inf], 0.0).item()
    assert abs(found["delta_f_kt"] - math.log((1 - above) / above)) < 4 * found["delta_f_kt_se"]


def test_the_free_energy_between_two_tilts_is_that_of_their_log_z(runs, tmp_path, capsys):
    """log Z = β²/2; the losses differ by that and by what each tuned model lacks."""
    out = tmp_path / "between"
    names = [str(runs / name) for name in ("strong", "weak")]
    assert main(["free-energy", *names, "n=20000", f"out={out}"]) == 0
    table = pd.read_csv(out / "estimates.csv").set_index("by")
    exact, value, error = 1 / 2 - 1 / 8, table["delta_f_kt"], table["delta_f_kt_se"]
    bennett, references, losses = table.index
    assert abs(value[bennett] - exact) < 4 * error[bennett] < 0.1
    assert value[references] == exact
    gaps = [run["kl_gap"] for run in about(out)["runs"]]
    assert value[losses] == pytest.approx(exact + gaps[1] - gaps[0])
    told = capsys.readouterr().out
    assert "off by that of their kl_gap" in told
    assert (out / "works.png").stat().st_size > 5000


def wells(x):
    apart = torch.logaddexp(-2 * (x[:, 0] - 5) ** 2, -2 * (x[:, 0] + 5) ** 2)
    return apart + x[:, 0] ** 2 / 2


def test_a_lost_basin_is_refused(runs, tmp_path, capsys, monkeypatch):
    """The tuned model is the right well alone: its weights are tame, and E f is right."""
    run = load_run(runs / "strong")
    z = torch.randn(1000, 3, generator=derived_generator(0))
    z[:, 0] = z[:, 0] / 2 + torch.where(torch.arange(1000) % 2 == 0, 5, -5)
    run.pareto.loc[1, ["mean_f_ref", "mean_f_ref_se"]] = wells(z).mean().item(), 0.3
    run.tuned = lambda beta: TunedModel(run.model, Affine(torch.tensor([5.0, 0.0, 0.0]), 0.9))
    run.f = lambda beta: LatentCriterion(run.model, wells)
    monkeypatch.setattr(free_energy, "load_run", lambda path: run)
    ask = ["along=x0", "range=[-8,8]", "n=5000", f"out={tmp_path / 'found'}"]
    run.reference = lambda index: Kept(z.numpy(), 1000.0)
    for split, told in (("split=0", "effective draws lie on one side"), ("bins=9", "reference's")):
        assert main(["free-energy", str(runs / "strong"), *ask, split]) == 3
        error = capsys.readouterr().err
        assert told in error
        assert "remedy: train longer" in error
        assert not (tmp_path / "found").exists()


def test_a_side_that_only_the_reference_knows_is_told():
    """By the weights 1 in 40 draws is in the left well; by the reference half of them are."""
    values = torch.cat([torch.full((9750,), 1.0), torch.full((250,), -1.0)]).double()
    draws = Weighed(values, values, torch.zeros(len(values)))
    reference = torch.randn(400, generator=derived_generator(0)).double()
    told = contradicted(draws, reference, 400.0, 0.0)
    assert told == "50.7% of the reference's draws lie above 0, 97.5% by the weights"
    assert contradicted(draws, reference, 400.0).startswith("90.0% of the reference's draws")
    assert contradicted(draws, reference, 0.0, 0.0) == ""
    assert contradicted(draws, values[::10], 1000.0, 0.0) == ""
    few = difference(values[:9800], torch.zeros(9800), 0.0)
    assert too_few(few) == "only 50 effective draws lie on one side of the split"


RANGE, ALONG = "range=[-1,1]", "along=x0"


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        ([RANGE], "along=None: must be given"),
        ([ALONG], "range=None: must be given"),
        ([RANGE, "along=x7"], "along='x7': x has the coordinates x0 … x2"),
        ([RANGE, "along=y"], "along='y': must be a coordinate of x, such as x0, or a function"),
        ([RANGE, "along=nowhere:f"], "along='nowhere:f': cannot be found (ModuleNotFoundError"),
        ([RANGE, "along=mine:f"], "along='mine:f': cannot be found (AttributeError"),
        ([RANGE, "along=mine:flat"], "along='mine:flat': must give a tensor of shape (1000,)"),
        ([RANGE, "along=mine:nan"], "along='mine:nan': is NaN or infinite for 1 of 1000 draws"),
        ([RANGE, "along=mine:fails"], "along='mine:fails': fails (ZeroDivisionError"),
        ([RANGE, "along=mine:number"], "along='mine:number': must be a function of x"),
        ([ALONG, "range=[1,1]"], "range=[1, 1]: must rise"),
        ([ALONG, "range=[0]"], "range=[0]: must be two numbers, as [-2.5,2.5]"),
        ([ALONG, "range=[0,inf]"], "range=[0, inf]: must be two numbers"),
        ([ALONG, "range=all"], "range='all': must be a list of numbers"),
        ([ALONG, RANGE, "split=1"], "split=1: must lie within the range, -1 … 1"),
        ([ALONG, RANGE, "split=nan"], "split=nan: must be a number"),
        ([ALONG, RANGE, "bins=0"], "bins=0: must be 1 or more"),
        ([ALONG, RANGE, "n=10"], "n=10: must be 1000 or more"),
        ([ALONG, RANGE, "beta=0.3"], "beta=0.3: this run has 0, 1"),
        ([ALONG, RANGE, "also=[nowhere]"], "run directory='nowhere'"),
        ([ALONG, RANGE, "also=nowhere"], "also='nowhere': must be a list of paths"),
        ([ALONG, RANGE, "spit=0"], "spit=0: unknown setting (did you mean split?)"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(runs, here, capsys, ask, told):
    """Before anything is written."""
    text = "def flat(x):\n    return x\ndef fails(x):\n    return 1 / 0\nnumber = 3\n"
    text += "def nan(x):\n    y = x[:, 0].clone()\n    y[0] = float('nan')\n    return y\n"
    (here / "mine.py").write_text(text)
    assert main(["free-energy", str(runs / "strong"), *ask, "out=found"]) == 2
    sys.modules.pop("mine", None)  # other tests have a module of this name
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert not (here / "found").exists()


def test_another_run_takes_part_where_both_know_the_density_of_x(runs, here, capsys):
    ask = [str(runs / "strong"), ALONG, RANGE, f"also=[{runs / 'weak'}]"]
    assert main(["free-energy", *ask]) == 2
    assert "weak': both models must know the density of any x" in capsys.readouterr().err


def test_what_is_there_is_not_written_over(runs, here, capsys):
    (here / "found").mkdir()
    (here / "found" / "free_energy.json").write_text("{}")
    ask = [[str(runs / "strong"), ALONG, RANGE], [str(runs / name) for name in ("weak", "strong")]]
    for words in ask:
        assert main(["free-energy", *words, "out=found"]) == 2
        assert "already holds free_energy.json" in capsys.readouterr().err


def test_without_a_run_there_is_nothing_to_tell(runs, here, capsys):
    assert main(["free-energy", "nowhere", ALONG, RANGE]) == 2
    assert "run directory='nowhere'" in capsys.readouterr().err
    assert main(["free-energy", *[str(runs / "weak")] * 3]) == 2
    assert "name one, or two" in capsys.readouterr().err
    assert main(["free-energy", "--help"]) == 0


def test_a_run_without_draws_of_its_tilt_has_no_bennett_ratio(runs, here, capsys, monkeypatch):
    monkeypatch.setattr(LoadedRun, "reference", lambda self, index: None)
    assert main(["free-energy", *[str(runs / name) for name in ("weak", "strong")]]) == 2
    assert "keeps no draws of the exact tilt" in capsys.readouterr().err


def test_the_draws_that_a_run_has_kept_are_of_its_last_beta(runs):
    run = load_run(runs / "strong")
    assert run.reference(0) is None
    kept = run.reference(1)
    assert kept.z.shape == (1000, 3)
    assert kept.independent == 1000
