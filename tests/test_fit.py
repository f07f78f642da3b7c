"""A synthetic likelihood by an emulator, beside closed forms, and what is told where it is off."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from btgm_cli import (
    BtgmError,
    SettingError,
    Status,
    Target,
    Tuning,
    load_criterion,
    load_model,
    tune,
)
from btgm_cli.cli import main
from btgm_cli.cli.config import (
    build_model,
    build_object,
    compose_config,
    exports_of,
    untrained_flow,
)
from btgm_cli.core.errors import DataError
from btgm_cli.core.latent_criterion import settled
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.simulators.data import read_data
from btgm_cli.domains.simulators.emulator import Emulator, Simulations
from btgm_cli.domains.simulators.fit import Fit
from btgm_cli.domains.simulators.fitted import MOST_UNITS, differ
from btgm_cli.domains.simulators.gaussian_process import fitted
from btgm_cli.domains.simulators.model import load_simulator
from btgm_cli.domains.simulators.rounds import Agreement
from btgm_cli.domains.simulators.synthetic import UNITS, Shape
from btgm_cli.store.checkpoints import checkpoints_in
from btgm_cli.store.files import file_hash

OWN = """
def plane(theta, n, rng):
    return rng.normal([theta["a"], theta["a"] + 2 * theta["b"]], [1.0, 2.0], (n, 2))

def twice(theta, n, rng):
    return rng.normal(theta["a"], 1.0, (n, 2))
"""
SIGNS = """
import numpy as np

def signs(theta, n, rng):
    sign = rng.choice([-1.0, 1.0], (n, 1))
    return sign * (theta["size"] + rng.normal(0, 0.3, (n, 1)))
"""
PRIOR = {"a": {"normal": [0.0, 1.0]}, "b": {"normal": [0.5, 1.0]}}
N = 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with simulators of a user's and data."""
    path = tmp_path_factory.mktemp("fit")
    (path / "own_plane.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.syspath_prepend(str(path))
        x = np.random.default_rng(0).normal([0.5, -0.5], [1.0, 2.0], (N, 2))
        np.save("plane.npy", x)
        np.save("apart.npy", x + np.array([0.0, 3.0]))
        yield path


def under(model, criterion, name="fit"):
    return settled(criterion, model, derived_generator(0, name))


def test_a_process_learns_a_line_to_the_bit_and_a_wave_within_its_errors():
    generator = derived_generator(0, "process")
    u = torch.rand(40, 2, generator=generator, dtype=torch.double) * 4 - 2
    truth = torch.stack([1 + u @ torch.tensor([2.0, -1.0]).double(), torch.sin(u[:, 0] * 2)], 1)
    errors = torch.full_like(truth, 1e-4)
    noise = torch.randn(truth.shape, generator=generator, dtype=torch.double)
    found = fitted(u, truth + errors.sqrt() * noise, errors)
    new = torch.rand(200, 2, generator=generator, dtype=torch.double) * 3 - 1.5
    exact = torch.stack(
        [1 + new @ torch.tensor([2.0, -1.0]).double(), torch.sin(new[:, 0] * 2)], 1
    )
    mean, var = found.mean_and_var(new)
    white = (mean - exact) / var.sqrt()
    assert torch.equal(mean, found.mean(new))
    assert (white.abs() < 5).all()
    assert 0.2 < white.square().mean() < 3
    _, far = found.mean_and_var(torch.full((1, 2), 30.0).double())
    assert (far > 10 * var.max(0).values).all()


def test_an_emulator_of_a_line_has_the_normal_likelihood():
    """μ = (a, a + 2b) and Σ = diag(1, 4) known at many places, next to without error."""
    generator = derived_generator(0, "emulator")
    u = torch.randn(30, 2, generator=generator, dtype=torch.double)
    mean = torch.stack([u[:, 0], u[:, 0] + 2 * u[:, 1]], 1)
    sigma = torch.tensor([[1.0, 0.6], [0.6, 4.0]]).double()
    seen = Simulations(u, mean, sigma.expand(30, 2, 2), torch.full((30,), 10**9))
    emulator = Emulator.of(seen, torch.ones(30).double())
    observed = torch.tensor([0.3, -0.2]).double()
    normal = torch.distributions.MultivariateNormal(mean, sigma / 7)
    found = emulator.log_likelihood(u, observed, 7)
    assert torch.allclose(found, normal.log_prob(observed), atol=1e-3)
    # Beyond all places nothing is known, and nothing there may explain the data.
    far = torch.tensor([[40.0, 0.0], [-3.0, 300.0]]).double()
    side = far.clamp(u.amin(0), u.amax(0))
    found, edge = (emulator.log_likelihood(at, observed, 7) for at in (far, side))
    assert torch.equal(found, edge)
    errors, at_edge = (emulator.means.mean_and_var(at)[1] for at in (far, side))
    assert (errors > at_edge).all()


@pytest.fixture(scope="module")
def plane(folder):
    model = load_simulator("own_plane:plane", PRIOR)
    return model, under(model, Fit("plane.npy", 60_000, "kept"))


def test_the_posterior_is_that_in_closed_form(folder, plane):
    """A linear Gaussian: its posterior is normal, and f may be off by a fraction of a nat."""
    model, criterion = plane
    s = torch.from_numpy(np.load(folder / "plane.npy")).mean(0)
    A = torch.tensor([[1.0, 0.0], [1.0, 2.0]]).double()
    precision = torch.diag(torch.tensor([N / 1.0, N / 4.0]).double())
    prior = torch.tensor([0.0, 0.5]).double()
    covariance = torch.linalg.inv(A.T @ precision @ A + torch.eye(2).double())
    mean = covariance @ (A.T @ precision @ s + prior)
    exact = torch.distributions.MultivariateNormal(mean, covariance)
    noise = torch.randn(4000, 2, generator=derived_generator(0, "theta"), dtype=torch.double)
    theta = mean + noise @ torch.linalg.cholesky(covariance).T
    log_w = criterion(theta) + model.simulator.prior.log_prob(theta) - exact.log_prob(theta)
    w = torch.softmax(log_w, 0)
    found = w @ theta
    sd = covariance.diagonal().sqrt()
    assert ((found - mean).abs() < 0.2 * sd).all()
    spread = (w @ (theta - found).square()).sqrt()
    assert ((spread / sd - 1).abs() < 0.1).all()
    assert 1 / (w.square().sum() * len(w)) > 0.9
    assert criterion.doubt == ""


@pytest.mark.slow
def test_what_is_paid_for_is_used_again_and_gives_the_same_f(folder, plane):
    _, criterion = plane
    model = load_simulator("own_plane:plane", PRIOR)
    again = under(model, Fit("plane.npy", 60_000, "kept"))
    theta = model.decode(model.sample_prior(5, derived_generator(0, "z")))
    assert torch.equal(criterion(theta), again(theta))
    assert model.simulator.units == 0
    for file in folder.glob("kept/*_*.npz"):  # the emulator, not what was simulated
        file.unlink()
    refitted = under(model, Fit("plane.npy", 60_000, "kept"))
    assert model.simulator.units <= UNITS  # those alone that tell how normal a mean is
    assert torch.equal(criterion(theta), refitted(theta))


@pytest.mark.parametrize("size", [1, 100])
def test_how_far_a_mean_is_from_normal_is_that_of_its_distribution(size):
    """Of exponential units: skewness 2 and excess kurtosis 6, of a mean of N 2/√N and 6/N."""
    n = 1_000_000
    units = -torch.log((torch.arange(n).double() + 0.5) / n)[:, None]  # its quantiles
    found = Shape.of(units, size)
    assert found.skewness * math.sqrt(size) == pytest.approx(2, abs=0.02)
    assert found.kurtosis * size == pytest.approx(6, abs=0.1)
    normal = torch.randn(2000, 1, generator=derived_generator(0, "normal"))
    # Two errors are taken off, so that two more are left of four.
    assert Shape.of(normal, 1).skewness <= 2 * math.sqrt(6 / 2000)
    assert Shape.of(normal, 1).kurtosis <= 2 * math.sqrt(24 / 2000)


def test_one_skewed_unit_is_doubted_and_many_are_not(plane):
    _, criterion = plane
    one, many = (
        replace(criterion, fitted=replace(criterion.fitted, shape=shape))
        for shape in (Shape(2.0, 6.0), Shape(0.1, 0.015))
    )
    assert one.doubt.endswith("not normal: skewness 2")
    assert one.remedy == "criterion.method=neural"
    assert many.doubt == ""
    more = replace(one, observed=replace(one.observed, size=MOST_UNITS + 1))
    assert "model.summary" in more.remedy


@pytest.mark.slow
def test_data_that_no_parameter_gives_are_told(folder):
    model = load_simulator("own_plane:twice", {"a": {"normal": [0.0, 1.0]}})
    criterion = under(model, Fit("apart.npy", 20_000, "kept"))
    assert "no θ gives statistics as the data have" in criterion.doubt
    assert "check data" in criterion.remedy


def test_a_run_is_held_to_its_data(folder):
    found = checkpoints_in({"criterion": {"data": "plane.npy"}, "seed": 0, "name": "gone.npy"})
    assert found == {"criterion.data": file_hash(folder / "plane.npy")}


@pytest.mark.parametrize(
    ("agreement", "words"),
    [
        (Agreement(0.2, 1.05, 0.9, 0.1), ""),
        (Agreement(0.7, 1.05, 0.9, 0.1), "differ by 0.70 posterior deviations"),
        (Agreement(0.2, 1.5, 0.9, 0.1), "different widths, by a factor of 1.50"),
        (Agreement(0.2, 1.05, 0.05, 0.1), "share 5% of their draws"),
        (Agreement(0.2, 1.05, 0.9, 0.6), "error of one of the emulators is 60% of the variance"),
    ],
)
def test_emulators_that_differ_are_told(agreement, words):
    assert words in differ(agreement, "emulators")
    assert bool(differ(agreement, "emulators")) == bool(words)


class Doubted:
    """A criterion that is off, and says so."""

    doubt, remedy = "it is off by two", "criterion.simulations=8"

    def __call__(self, x):
        return x[:, 0]


def test_a_run_whose_criterion_is_off_says_so():
    quick = Tuning(first_steps=1, min_acceptance_rate=1.0, n_eval=500, n_reference=1000)
    result = tune(load_model("gaussian"), Doubted(), target=Target(betas=[0]), settings=quick)
    assert result.status is Status.UNRELIABLE_CRITERION
    assert result.message.endswith("but f is off: it is off by two")
    assert result.remedy == "criterion.simulations=8"


@pytest.mark.parametrize("name", ["poisson", "linear5", "muons", "queue"])
def test_each_experiment_composes_and_fits_its_model(name):
    cfg = compose_config("run", [f"experiment={name}", "criterion.data=x.npy"])
    model = build_model(cfg.model)
    for export in exports_of(cfg):
        export.check(model)
    z = model.sample_prior(2, derived_generator(0, "z"))
    assert untrained_flow(cfg.flow, model.latent_dim, cfg.seed)(z)[0].shape == z.shape
    assert isinstance(build_object(cfg.criterion, "criterion"), Fit)


@pytest.mark.slow
def test_learned_statistics_tell_what_the_columns_do_not(folder):
    """Of units ± θ with a random sign the mean tells nothing; the posterior of |θ| is narrow."""
    (folder / "own_signs.py").write_text(SIGNS)
    prior = {"size": {"uniform": [0.5, 2.0]}}
    model = load_simulator("own_signs:signs", prior)
    (x,) = model.simulator.each(torch.tensor([[1.2]]), 200, [5])
    np.save("signs.npy", x)
    by_mean = under(model, Fit("signs.npy", 20_000, "kept"))
    by_network = under(model, Fit("signs.npy", 20_000, "kept", learned=True))
    assert by_network.fitted.theta.std() < 0.3 * by_mean.fitted.theta.std()
    assert abs(by_network.fitted.theta.mean() - 1.2) < 0.1
    again = under(load_simulator("own_signs:signs", prior), Fit("signs.npy", 20_000, "kept"))
    assert torch.equal(again.fitted.theta, by_mean.fitted.theta)


def test_a_summary_is_given_or_learned(folder):
    model = load_model("queue")
    np.save("queue.npy", np.ones((1, 50)))
    with pytest.raises(SettingError, match="choose one of both"):
        under(model, Fit("queue.npy", folder="kept", learned=True))


def test_data_of_a_csv_are_a_tensor_without_a_warning(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("count\n1\n4\n")
    x = torch.from_numpy(read_data(str(file), load_model("poisson").simulator))
    assert x.tolist() == [[1.0], [4.0]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n", "has 2 columns, and the simulator gives 1"),
        ("wrong\n1\n", "has the columns wrong, the simulator count"),
        ("count\n1\nnan\n", "has NaN or infinite values in 1 of 2 rows"),
        ("count\nmany\n", "holds no table of numbers"),
        ("3\n4\n", r"begins with numbers \(3\); its first line names columns"),
        ("count\n", "must hold a table with a row a unit"),
    ],
)
def test_data_that_do_not_fit_are_told_in_a_line(tmp_path, content, words):
    file = tmp_path / "data.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=words):
        under(load_model("poisson"), Fit(str(file), folder=str(tmp_path)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data": "nowhere.csv"}, "criterion.data='nowhere.csv': must be the path"),
        ({"simulations": 10}, "criterion.simulations=10: must be a whole number"),
        ({"simulations": 9999, "method": "neural"}, "must be a whole number, 10,000 or more"),
    ],
)
def test_settings_of_a_fit_that_cannot_be_used(settings, words):
    with pytest.raises(SettingError, match=words):
        under(load_model("poisson"), Fit(**{"data": "x.csv"} | settings))


@pytest.mark.slow
def test_a_damaged_file_of_simulations_is_told(folder, tmp_path):
    model = load_simulator("own_plane:twice", {"a": {"normal": [0.0, 1.0]}})
    under(model, Fit("apart.npy", 20_000, "kept"))
    (tmp_path / "kept").mkdir()
    for file in folder.glob("kept/*.npz"):
        (tmp_path / "kept" / file.name).write_bytes(file.read_bytes()[:-7])
    with pytest.raises(BtgmError, match="is damaged"):
        under(model, Fit("apart.npy", 20_000, str(tmp_path / "kept")))


def test_no_other_model_is_fitted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = main(["run", "model=gaussian", "criterion=fit", "criterion.data=x.npy"])
    assert code == 2
    assert "criterion='fit': needs model=simulator" in capsys.readouterr().err


def test_a_fit_alone_is_no_criterion():
    with pytest.raises(SettingError, match="call its method `under` first"):
        load_criterion("fit", data="x.npy")(torch.zeros(2, 1))


def test_the_likelihood_falls_as_its_logarithm_far_away(plane):
    _, criterion = plane
    far = torch.tensor([[100.0, 100.0]])
    assert -300 < criterion(far).item() < -100
    near = torch.tensor([[0.4, -0.4]])
    assert math.isclose(criterion(near).item(), criterion.uncapped(near).item(), rel_tol=1e-5)
