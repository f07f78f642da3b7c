"""Critics and their saddle point, beside closed forms, and a fit by them."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from btgm_cli import SettingError
from btgm_cli.core.latent_criterion import settled
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.simulators import critic as critics
from btgm_cli.domains.simulators.critic import Scale, fitted_critic
from btgm_cli.domains.simulators.dual import Pool, Scores, Visited, _highest, balanced
from btgm_cli.domains.simulators.fit import Fit
from btgm_cli.domains.simulators.kept import KeptUnits
from btgm_cli.domains.simulators.model import load_simulator

OWN = """
def shifted(theta, n, rng):
    return rng.normal(theta["a"], 1.0, (n, 1))

def stuck(theta, n, rng):
    if theta["a"] > 100:
        raise ValueError("too far")
    return rng.normal(theta["a"], 1.0, (n, 1))
"""
PRIOR = {"a": {"normal": [0.0, 1.0]}}
SIZE = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with simulators of a user's and data."""
    path = tmp_path_factory.mktemp("adversarial")
    (path / "own_shift.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.syspath_prepend(str(path))
        np.save("shifted.npy", np.random.default_rng(0).normal(0.5, 1.0, (SIZE, 1)))
        yield path


@dataclass(frozen=True)
class Lines:
    """Scores u − a and (u − a)/2, known within an error, in place of processes."""

    at: float
    error: float

    def inside(self, u):
        return u.clamp(-50, 50)

    def mean(self, u):
        away = u[:, :1] - self.at
        return torch.cat([away, away / 2], 1)

    def mean_and_var(self, u):
        mean = self.mean(u)
        return mean, torch.full_like(mean, self.error)


def lines(at, error=0.0, size=10):
    within = torch.eye(2).double()
    return Scores(Lines(at, error), torch.ones(2).double(), within, size)


def tilted(scores, seed=0):
    """Draws of N(0, 1) tilted by a slope: N(slope, 1), log Z known."""

    def draws(w, visit):
        slope = scores.size * (w[0] + w[1] / 2)
        noise = torch.randn(1000, 1, generator=derived_generator(seed, visit), dtype=torch.double)
        log_z = (0.5 * slope**2 - slope * scores.processes.at).item()
        return noise + slope, log_z

    return draws


def test_weights_make_the_tilts_mean_scores_those_of_the_data():
    """E u = a under N(0, 1) tilted by 10 (c₀ + c₁/2) u, which is N(10 (c₀ + c₁/2), 1)."""
    scores = lines(at=3.0)
    w = balanced(scores, tilted(scores), torch.zeros(2).double())
    # The dual's error: that of a mean of 1,000 draws, four times over.
    assert abs(10 * (w[0] + w[1] / 2) - 3.0) < 4 / math.sqrt(1000)
    assert (w >= 0).all()


def test_weights_go_no_further_than_a_slope_of_one():
    scores = lines(at=30.0)
    w = balanced(scores, tilted(scores), torch.zeros(2).double())
    assert w.sum() <= 1 + 1e-4  # as heavily as it is held
    assert w[0] > 0.95


def test_errors_of_the_scores_keep_weights_small():
    """With errors of variance s² size² of both slopes: c (1 + s²) = a / size for one critic."""
    exact, rough = lines(at=3.0), lines(at=3.0, error=1.0)
    start = torch.zeros(2).double()
    w, v = (balanced(s, tilted(s), start) for s in (exact, rough))
    assert (v[0] + v[1] / 2) < 0.7 * (w[0] + w[1] / 2)


def test_beyond_its_places_an_expected_score_is_that_at_their_edge():
    scores = lines(at=0.0)
    u = torch.tensor([[50.0], [90.0]]).double()
    assert torch.equal(*scores.means(u))


def test_the_highest_point_within_reach():
    curvature = torch.diag(torch.tensor([1.0, 2.0]).double())
    reach = torch.tensor([10.0, 10.0]).double()
    inside = _highest(curvature, torch.tensor([2.0, -3.0]).double(), reach)
    assert inside.tolist() == pytest.approx([2.0, 0.0], abs=1e-4)
    at_edge = _highest(curvature, torch.tensor([30.0, 30.0]).double(), reach)
    # 30 − w₀ = 30 − 2 w₁ with w₀ + w₁ = 10.
    assert at_edge.tolist() == pytest.approx([20 / 3, 10 / 3], abs=1e-3)


def test_a_pool_knows_the_dual_between_the_tilts_that_it_has_draws_of():
    scores = lines(at=1.0)
    draws = tilted(scores)
    visited = []
    for number, slope in enumerate((0.0, 2.0)):
        w = torch.tensor([slope / 10, 0.0]).double()
        u, log_z = draws(w, number)
        visited.append(Visited(scores.means(u), w, log_z, scores.ridge(u)))
    pool = Pool(visited, visited[0].ridge, scores.spread)
    exact = -(0.5 - 1.0)  # −log E exp(u − 1) = 1 − ½
    # log Z by 2,000 draws, of weights whose variance is below two.
    assert abs(pool.value(torch.tensor([0.1, 0.0]).double()) - exact) < 4 * math.sqrt(2 / 2000)


def test_a_critic_measures_the_distance_of_two_heaps(monkeypatch):
    """W₁ between N(0, 0.1) and N(2, 0.1) is 2; the penalty lets slopes exceed one by W/2λ."""
    monkeypatch.setattr(critics, "STEPS", 150)
    monkeypatch.setattr(critics, "BATCH", 64)
    generator = derived_generator(0, "heaps")
    real = 0.1 * torch.randn(500, 1, generator=generator)
    fake = 2 + 0.1 * torch.randn(500, 1, generator=generator)
    found = fitted_critic(real, fake, Scale(torch.zeros(1), torch.eye(1)), seed=0)
    distance = (found(real).mean() - found(fake).mean()).item()
    assert distance == pytest.approx(2 * (1 + 2 / (2 * critics.PENALTY)), rel=0.1)
    again = fitted_critic(real, fake, found.scale, seed=0)
    assert torch.equal(found(real), again(real))


def test_units_on_their_scale_have_unit_covariance():
    x = torch.randn(1000, 2, generator=derived_generator(0, "scale")) @ torch.tensor(
        [[3.0, 1.0], [0.0, 0.2]]
    )
    white = Scale.of(x)(x)
    assert torch.allclose(torch.cov(white.T), torch.eye(2), atol=1e-3)


def test_units_that_are_paid_for_are_kept_until_they_are_removed(folder):
    simulator = load_simulator("own_shift:stuck", PRIOR).simulator
    theta, path = torch.tensor([[0.0], [200.0], [1.0]]).double(), folder / "kept" / "units.npz"
    first = KeptUnits(simulator, path).at(theta, 5, [1, 2, 3], "told")
    calls = simulator.calls
    kept = KeptUnits(simulator, path)
    again = kept.at(theta, 5, [1, 2, 3], "told")
    assert simulator.calls == calls
    assert first[1] is None is again[1]
    for k in (0, 2):
        assert np.array_equal(first[k], again[k])
    kept.remove()
    assert not path.exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"method": "guess"},
            "criterion.method='guess': must be one of synthetic, neural, adversarial",
        ),
        ({"method": "adversarial", "learned": True}, "criterion.learned=True: is not for"),
    ],
)
def test_methods_that_cannot_be_used(settings, words):
    with pytest.raises(SettingError, match=words):
        Fit("x.npy", **settings)


@pytest.mark.slow
def test_a_fit_by_critics_is_about_the_mean_and_no_narrower_than_the_posterior(folder, capsys):
    """Of a normal mean: in width 1.12 posterior deviations at least, √(√(π/2)), if critics were
    exact; here N is small, and so is what data that vary by chance add to it."""
    model = load_simulator("own_shift:shifted", PRIOR)
    fit = Fit("shifted.npy", 60_000, "kept", method="adversarial")
    made = settled(fit, model, derived_generator(0, "fit"))
    mean, sd = np.load("shifted.npy").mean(), 1 / math.sqrt(SIZE)
    theta = made.fitted.theta
    assert abs(theta.mean().item() - mean) < 1.5 * sd
    assert sd < theta.std().item() < 8 * sd
    assert "they are no likelihood, and β = 1 is no posterior" in capsys.readouterr().err
    again = load_simulator("own_shift:shifted", PRIOR)
    recalled = settled(fit, again, derived_generator(0, "fit"))
    assert again.simulator.units == 0
    assert torch.equal(recalled(theta[:5]), made(theta[:5]))
    assert not list(folder.glob("kept/*_units.npz"))
