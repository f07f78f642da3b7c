"""Simulators: their priors, what they give, and what is told of those that give none."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from btgm_cli import SettingError, load_model
from btgm_cli.core.contracts import StochasticDecoder
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.simulators.commands import Command
from btgm_cli.domains.simulators.model import load_simulator
from btgm_cli.domains.simulators.priors import Prior
from btgm_cli.domains.simulators.shipped import ROTATION
from btgm_cli.tuning.checks import check_model

PRIORS = {
    "normal": ([2.0, 3.0], stats.norm(2, 3)),
    "uniform": ([-1.0, 5.0], stats.uniform(-1, 6)),
    "log_normal": ([0.5, 0.25], stats.lognorm(0.25, scale=math.exp(0.5))),
    "truncated_normal": ([1.0, 2.0, 0.0, 2.5], stats.truncnorm(-0.5, 0.75, 1, 2)),
}
COIN = {"p": {"uniform": [0.0, 1.0]}}

OWN = """
import time
import numpy as np

def coin(theta, n, rng):
    return (rng.random((n, 1)) < theta["p"]).astype(float)

def one(theta, rng):
    return [rng.normal(theta["p"]), 1.0]

def forgets_its_seed(theta, n, rng):
    return np.random.default_rng().random((n, 1))

def hangs(theta, n, rng):
    time.sleep(60)

def narrow(theta, n, rng):
    return rng.random((n, 2 if theta["p"] == 0.5 else 3))

def flat(theta, n, rng):
    return rng.random(n + 1)

def words(theta, n, rng):
    return ["many"] * n

def often_nan(theta, n, rng):
    return np.full((n, 1), np.nan if theta["p"] > 0.7 else 1.0)

def outside(theta, n, rng):
    if theta["p"] > 0.5:
        raise ValueError("p is too large")
    return rng.random((n, 1))

def dies(theta, n, rng):
    import os
    os._exit(7)

def bad_summary(x):
    return x.mean()
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of a user's in the working directory, under a name of its own."""
    name = f"own_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield name
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


@pytest.mark.parametrize("family", PRIORS)
def test_a_prior_has_the_quantiles_and_the_density_of_its_family(family):
    numbers, exact = PRIORS[family]
    prior = Prior.of({"a": {family: numbers}})
    z = torch.linspace(-4, 4, 17, dtype=torch.double)
    theta = prior.of_latent(z[:, None].double())
    assert np.allclose(theta[:, 0], exact.ppf(stats.norm.cdf(z)), rtol=1e-9)
    inside = theta[3:-3]
    assert np.allclose(prior.log_prob(inside), exact.logpdf(inside[:, 0]), atol=1e-9)


def test_a_truncated_normal_far_in_its_tail_is_that_of_its_mirror():
    near = Prior.of({"a": {"truncated_normal": [0, 1, 4, 9]}})
    far = Prior.of({"a": {"truncated_normal": [0, 1, -9, -4]}})
    z = torch.linspace(-3, 3, 7, dtype=torch.double)[:, None]
    assert torch.allclose(near.of_latent(z), -far.of_latent(-z))
    exact = stats.truncnorm(4, 9).ppf(stats.norm.cdf(z[:, 0]))
    assert np.allclose(near.of_latent(z)[:, 0], exact, rtol=1e-9)


@pytest.mark.parametrize(
    ("prior", "words"),
    [
        ({}, "must name a parameter"),
        ({"a": {"normal": [0, 0]}}, "model.prior.a=.*standard deviation must be positive"),
        ({"a": {"normal": [0]}}, "finite numbers, normal: .mean, sd."),
        ({"a": {"uniform": [1, 1]}}, "low must be less than high"),
        ({"a": {"cauchy": [0, 1]}}, "no such family; choose one of normal"),
        ({"a": 3.0}, "must be one of normal"),
        ({"a": {"normal": [0, "x"]}}, "finite numbers"),
        ({"a": {"truncated_normal": [0, 1, 50, 60]}}, "next to nothing of the normal"),
    ],
)
def test_a_prior_that_is_none_is_told_in_a_line(prior, words):
    with pytest.raises(SettingError, match=words):
        Prior.of(prior)


@pytest.mark.parametrize("name", ["poisson", "linear5", "muons", "queue"])
def test_each_simulator_that_ships_is_a_model(name):
    check_model(load_model(name), seed=0)


def test_simulated_means_are_those_in_closed_form():
    """Within four of their own errors."""
    n = 20_000
    for name, theta, mean in [
        ("poisson", [math.log(7)], [7.0]),
        ("muons", [42.0, 0.9], [2 * math.tanh(-6 / 9) * 0.9 / 4]),
        ("linear5", [1.0, -1.0], ROTATION @ [1.0, -1.0, 0.0, 1 / 3, 2.0]),
    ]:
        (x,) = load_model(name).simulator.each(torch.tensor([theta], dtype=torch.double), n, [3])
        error = x.std(0) / math.sqrt(n)
        assert (np.abs(x.mean(0) - mean) < 4 * error).all(), name


def test_a_queue_with_rare_arrivals_departs_as_it_arrives():
    """Nobody waits: gaps are those of a Poisson process, of mean 1 / rate."""
    simulator = load_simulator(
        "btgm_cli.domains.simulators.shipped:queue",
        {n: {"uniform": [0, 1]} for n in ("shortest", "spread", "arrivals")},
    ).simulator
    (x,) = simulator.each(torch.tensor([[1e-6, 1e-6, 0.01]], dtype=torch.double), 2000, [0])
    assert abs(x.mean() - 100) < 4 * 100 / math.sqrt(x.size)


def test_one_unit_a_call_and_processes_give_what_a_call_here_gives(own):
    theta = torch.tensor([[0.2], [0.9]], dtype=torch.double)
    here = load_simulator(f"{own}:one", COIN).simulator
    there = load_simulator(f"{own}:one", COIN, processes=2).simulator
    for first, second in zip(
        here.each(theta, 5, [3, 4]), there.each(theta, 5, [3, 4]), strict=True
    ):
        assert first.shape == (5, 2)
        assert np.array_equal(first, second)
    assert here.units == 10


def test_x_of_a_size_is_theta_and_the_means_of_a_data_set(own):
    model = load_simulator(f"{own}:coin", COIN, size=50)
    assert isinstance(model, StochasticDecoder)
    z = model.sample_prior(3, derived_generator(0, "z"))
    seeds = model.noise(4, derived_generator(0, "noise"))
    x = model.decode_with(z, seeds[:, None])
    assert x.shape == (4, 3, 2)
    assert torch.equal(x[2, :, :1], model.simulator.prior.of_latent(z))
    for k in range(4):  # each depends on its own z and seed alone
        assert torch.equal(x[k, 1:2], model.decode_with(z[1:2], seeds[k : k + 1]))
    share = x[..., 0].mean().item(), x[..., 1].mean().item()
    assert abs(share[0] - share[1]) < 4 * 0.5 / math.sqrt(4 * 3 * 50)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("forgets_its_seed", "at p = 0.5 it gives other data when asked twice with one seed"),
        ("hangs", "at p = 0.5 it gave no answer within 0.2 s"),
        ("flat", r"at p = 0.5 it gave data of shape \(4,\) in place of \(3, columns\)"),
        ("words", "at p = 0.5 it gave no table of numbers"),
        ("nowhere", "cannot be found"),
    ],
)
def test_a_simulator_that_is_none_is_told_in_a_line_with_its_parameters(own, name, words):
    with pytest.raises(SettingError, match=words):
        load_simulator(f"{own}:{name}", COIN, seconds=0.2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "often_nan",
            r"of \d+ calls failed, .*; the last one gave NaN or infinite data in 2 of 2",
        ),
        ("outside", r"at p = 0\.[5-9]\d* it .*; the last one ValueError: p is too large"),
        ("narrow", "gave 3 columns, and 2 before"),
    ],
)
def test_failures_are_counted_and_refused_above_a_share(own, name, words):
    simulator = load_simulator(f"{own}:{name}", COIN, most_failed=0.1).simulator
    theta = torch.linspace(0.01, 0.99, 60, dtype=torch.double)[:, None]
    with pytest.raises(SettingError, match=words):
        list(simulator.each(theta, 2, range(60)))


def test_a_few_failures_leave_gaps_and_are_counted(own):
    simulator = load_simulator(f"{own}:often_nan", COIN, most_failed=0.5).simulator
    found = list(simulator.each(torch.tensor([[0.1], [0.8], [0.3]]), 2, [0, 1, 2]))
    assert [x is None for x in found] == [False, True, False]
    assert simulator.failures == 1
    with pytest.raises(SettingError, match=r"at p = 0.8 it gave no data, where each θ needs some"):
        simulator.data(torch.tensor([[0.8]]), 2, [0])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('{\"x\": [[1], [2], [3]]}')", ""),
        ("print('hello')", "it printed no JSON: hello"),
        ("print('{\"y\": 1}')", 'it printed a line without "x"'),
        ('print(\'{"error": "too hot"}\')', "it too hot"),
        ("raise SystemExit(3)", "it ended with code 3 and no answer"),
        ("import time; time.sleep(60)", "it gave no answer within 0.5 s"),
    ],
)
def test_a_command_reads_a_line_and_writes_one(tmp_path, monkeypatch, code, words):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(f"import sys\nsys.stdin.readline()\n{code}\n")
    command = f"{sys.executable} -S -E own.py"
    if not words:
        simulator = load_simulator(command, COIN).simulator
        (x,) = simulator.each(torch.tensor([[0.5]]), 3, [0])
        assert x.tolist() == [[1], [2], [3]]
        return
    with pytest.raises(SettingError, match=words):
        load_simulator(command, COIN, seconds=0.5)


def test_a_command_that_has_ended_by_the_next_call_is_started_again(tmp_path):
    script = tmp_path / "own.py"
    script.write_text("import sys\nsys.stdin.readline()\nprint('{\"x\": [[1]]}')\n")
    command = Command([sys.executable, "-S", "-E", str(script)], seconds=60)
    for _ in range(2):
        assert command.ask({}, 1, 0) == [[1]]
        command._process.wait()  # so that the next line meets a broken pipe
    command.close()


def test_a_function_that_kills_its_process_is_told(own):
    with pytest.raises(SettingError, match=r"at p = 0.5 it ended with code 7 and no answer"):
        load_simulator(f"{own}:dies", COIN, processes=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"processes": -1}, "model.processes=-1"),
        ({"seconds": 0}, "model.seconds=0"),
        ({"most_failed": 1}, "model.most_failed=1"),
        ({"size": 0}, "model.size=0"),
        ({"columns": ["a", "b"]}, r"model.columns=.*must name the 1 columns"),
        ({"simulate": ""}, "model.simulate='': must be module:function, or a command"),
        ({"simulate": "nobody-has-this"}, "cannot be started"),
        ({"summary": "own"}, "model.summary='own': must be a function, as module:function"),
    ],
)
def test_settings_that_cannot_be_used_are_named(own, settings, words):
    with pytest.raises(SettingError, match=words):
        load_simulator(**{"simulate": f"{own}:coin", "prior": COIN} | settings)


def test_a_summary_must_give_a_row_a_unit(own):
    with pytest.raises(SettingError, match=r"must give shape \(3, S\), one row a unit"):
        load_simulator(f"{own}:coin", COIN, summary=f"{own}:bad_summary")
