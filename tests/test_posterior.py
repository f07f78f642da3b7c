"""What a run leaves of a simulator's parameters, and whole runs of simulators."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from btgm_cli import SettingError, load_model
from btgm_cli.cli import main
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.simulators.posterior import Posterior
from btgm_cli.domains.simulators.posterior_pictures import (
    corner_figure,
    path_figure,
    predictive_figure,
)
from btgm_cli.store.runs import SUMMARY


class Draws:
    """Draws of p for those of the tilt."""

    beta, doubt = 1.0, ""

    def __init__(self, model):
        self.model = model

    def prior(self, n):
        z = self.model.sample_prior(n, derived_generator(0, "draws"))
        return self.model.decode(z)

    tilted = prior


def test_an_export_leaves_parameters_by_name_and_a_unit_at_each(tmp_path):
    model = load_model("muons")
    export = Posterior(n=20, truth={"E": 42.0})
    export.check(model)
    assert export.write(tmp_path, Draws(model)) == ""
    theta = pd.read_csv(tmp_path / "parameters.csv")
    assert list(theta) == ["E (GeV)", "G"]
    assert np.allclose(theta, Draws(model).prior(20))
    assert pd.read_csv(tmp_path / "predictive.csv").shape == (20, 1)
    truth = json.loads((tmp_path / "posterior_truth.json").read_text())
    assert truth == {"E (GeV)": 42.0, "G": None}


def test_an_export_leaves_nothing_where_it_is_not_asked_or_draws_are_doubted(tmp_path):
    draws = Draws(load_model("muons"))
    assert Posterior().write(tmp_path, draws) == ""
    draws.doubt = "they are off"
    assert Posterior(n=5).write(tmp_path, draws) == "parameters.csv not written: they are off"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("gaussian", {"n": 5}, "posterior.n=5: needs model=simulator"),
        ("muons", {"n": 5, "truth": {"e": 1.0}}, "has e; the parameters are E, G"),
    ],
)
def test_an_export_refuses_what_it_has_nothing_to_say_of(model, settings, words):
    with pytest.raises(SettingError, match=words):
        Posterior(**settings).check(load_model(model))


def test_pictures_show_each_parameter_and_mark_the_truth():
    rng = np.random.default_rng(0)
    theta = pd.DataFrame(rng.normal(0, 0.1, (200, 3)), columns=["a", "b", "c"])
    prior = pd.DataFrame(rng.normal(0, 1, (200, 3)), columns=["a", "b", "c"])
    figure = corner_figure(theta, prior, {"a": 0.1, "b": None}, "fit")
    assert len(figure.axes) == 6
    low, high = figure.axes[0].get_xlim()
    assert low < 0.1 < high < 1  # the truth is in sight, the prior's width is not
    path = [rng.normal(0, sd, (50, 2)) for sd in (1.0, 0.5, 0.1)]
    figure = path_figure(np.array([0, 0.1, 1]), path, ["a", "b"], {"a": 0.1}, "fit")
    assert [axes.get_ylabel() for axes in figure.axes] == ["a", "b"]
    counts = pd.DataFrame({"count": rng.poisson(3, 500).astype(float)})
    (axes,) = predictive_figure(counts, counts, "fit").axes
    edges = sorted({patch.get_x() for patch in axes.patches if hasattr(patch, "get_x")})
    assert edges[0] == -0.5  # whole numbers have a bin each
    assert np.allclose(np.diff(edges), 1)


@pytest.mark.slow
@pytest.mark.usefixtures("pages")
def test_a_run_gives_the_posterior_and_goes_on_without_simulating_again(
    tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    np.save("data.npy", rng.poisson(7, (2000, 1)).astype(float))
    arguments = ["run", "experiment=poisson", "criterion.data=data.npy", "threads=1", "out=there"]
    assert main([*arguments, "criterion.simulations=100000", "posterior.n=500"]) == 0
    assert "criterion=fit: " in capfd.readouterr().err
    theta = pd.read_csv("there/parameters.csv")["log_rate"]
    mean = np.load("data.npy").mean()
    assert abs(theta.mean() - np.log(mean)) < 0.5 / np.sqrt(2000 * mean)
    for name in ("posterior.png", "predictive.png"):
        assert Path("there", name).is_file()
    Path("there", SUMMARY).unlink()
    assert main(["run", "resume=there"]) == 0
    assert ", 0 of them simulated now" in capfd.readouterr().err
