"""Rare events without a run: normals fitted to weighted draws, and the ways up to a threshold."""

import json
import math
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import chi2, norm

from btgm_cli.cli import main
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear, Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.store.paid import PaidValues
from btgm_cli.truth.exceeding import Trust, judged
from btgm_cli.tuned import normals
from btgm_cli.tuned.normals import Normals, fitted, like
from btgm_cli.tuning import climb
from btgm_cli.tuning.rare import Effort, searched


@pytest.fixture
def brief(monkeypatch):
    """Short ways, of few draws: as exact, and less precise."""
    for name, value in (("FIRST", 600), ("EACH", 400), ("WANTED", 60.0)):
        monkeypatch.setattr(climb, name, value)
    monkeypatch.setattr(normals, "COMPONENTS", (1, 4))


def search(criterion, thresholds, rare=(), dim=4, seed=0, **settings):
    f = LatentCriterion(Gaussian(dim), criterion)
    return searched(f, thresholds, rare, partial(derived_generator, seed), **settings)


def told(found, t):
    return judged(found.pooled.whole, t, found.halves(found.pooled))


@pytest.mark.slow
def test_two_normals_are_found_again():
    """From draws of a wide normal, weighted to a mixture of two that lie apart."""
    factors = torch.tensor([[[0.5, 0.0], [0.3, 0.4]], [[1.0, 0.0], [0.0, 0.5]]]).double()
    means = torch.tensor([[3.0, 0.0], [-3.0, 1.0]]).double()
    target = Normals(torch.tensor([0.3, 0.7]).double(), means, factors)
    wide = Normals(torch.ones(1).double(), torch.zeros(1, 2).double(), 4 * torch.eye(2)[None])
    z, log_q = Normals(wide.shares, wide.means, wide.factors.double()).draw(
        20_000, derived_generator(0)
    )
    fit = fitted(z, target.log_prob(z) - log_q, derived_generator(1))
    own, log_own = target.draw(4000, derived_generator(2))
    gap = log_own - fit.log_prob(own)
    assert abs(gap.mean().item()) < 0.02  # KL, nats
    mass = torch.logsumexp(fit.log_prob(z) - log_q, 0) - math.log(len(z))
    assert mass.item() == pytest.approx(0, abs=0.1)


def test_few_draws_in_many_dimensions_get_few_directions():
    """A full covariance of 60 draws in 40 dimensions would be noise: nats away from the truth."""
    z = torch.randn(60, 40, generator=derived_generator(0)).double()
    z[:, 0] = 3 + 0.3 * z[:, 0]
    fit = fitted(z, torch.zeros(60).double(), derived_generator(1))
    fresh = torch.randn(2000, 40, generator=derived_generator(2)).double()
    exact = -0.5 * fresh.square().sum(-1) - 20 * math.log(2 * math.pi) - math.log(0.3)
    fresh[:, 0] = 3 + 0.3 * fresh[:, 0]
    assert (exact - fit.log_prob(fresh)).mean() < 3
    assert like(z).means.shape == (1, 40)


def test_normal_tails_down_to_1e_9(brief):
    found = search(Linear(), [3.0, 6.0], effort=Effort(precision=0.06))
    for t in (3.0, 6.0):
        one = told(found, t)
        assert one.trust is Trust.OK
        assert abs(one.found.probability / norm.sf(t) - 1) < 4 * one.found.relative_se < 0.25
    assert found.evaluations < 50_000


@pytest.mark.slow
def test_a_ball_that_is_rarely_met_and_the_level_of_a_probability(brief):
    found = search(Quadratic(), [-0.01], [1e-5], effort=Effort(precision=0.06))
    one = told(found, -0.01)
    error = 4 * one.found.relative_se
    assert abs(one.found.probability / chi2.cdf(0.02, 4) - 1) < error < 0.25
    assert found.levels[0] == pytest.approx(-chi2.ppf(1e-5, 4) / 2, rel=0.1)


def test_regions_that_lie_apart_are_all_found(brief):
    """Four of them, each as likely."""
    found = search(lambda x: x.abs().amax(-1), [4.5], dim=2, effort=Effort(precision=0.06))
    one, exact = told(found, 4.5), 1 - (1 - 2 * norm.sf(4.5)) ** 2
    assert one.trust is Trust.OK
    assert abs(one.found.probability / exact - 1) < 4 * one.found.relative_se < 0.25


def test_common_events_need_draws_of_p_alone(brief):
    found = search(Linear(), [0.0])
    assert set(found.pooled.source.tolist()) == {0}
    assert abs(told(found, 0.0).found.probability - 0.5) < 0.04


def test_what_f_never_reaches_is_bounded(brief):
    lines = []
    found = search(lambda x: x[:, 0].clamp(max=1.0), [2.0], told=lines.append)
    one = told(found, 2.0)
    assert one.trust is Trust.UPPER_BOUND
    assert "nothing found above 2" in lines[0]


ASK = ["prob", "model=gaussian", "model.latent_dim=3", "criterion=linear", "precision=0.1"]


def test_without_a_run_tails_are_told_and_the_other_side_is(here, brief, capsys):
    assert main([*ASK, "below=-4", "levels=1e4", "out=found"]) == 0
    found = json.loads((here / "found" / "probability.json").read_text())
    (row,), (level,) = found["probabilities"], found["levels"]
    assert abs(row["probability"] / norm.cdf(-4) - 1) < 4 * row["relative_se"] < 0.5
    assert level["low"] < norm.ppf(1e-4) < level["high"]
    assert found["evaluations"] == row["evaluations"] < 40_000
    assert "way 2: " in capsys.readouterr().out
    assert main([*ASK, "below=-4", "out=found"]) == 2
    assert "already holds" in capsys.readouterr().err


def _values(folder):
    """What is on disk of f."""
    files = (folder / "paid").glob("*.safetensors")
    return [values for file in files for values in load_file(file).values()]


@pytest.mark.slow
def test_a_killed_call_finds_what_it_paid_for(here, brief, monkeypatch):
    """To the same bits; nothing that is on disk is evaluated again."""
    assert main([*ASK, "above=3", "out=whole"]) == 0
    kept, count = PaidValues.keep, 0

    def stopping(self, key, values):
        nonlocal count
        kept(self, key, values)
        count += 1
        if count == 7:
            self.flush()
            raise KeyboardInterrupt

    monkeypatch.setattr(PaidValues, "keep", stopping)
    assert main([*ASK, "above=3", "out=killed"]) == 130
    assert not (here / "killed" / "probability.json").exists()
    before = sum(len(v) for v in _values(here / "killed"))
    asked = 0

    def counting(self, key, values):
        nonlocal asked
        kept(self, key, values)
        asked += len(values)

    monkeypatch.setattr(PaidValues, "keep", counting)
    assert main([*ASK, "above=3", "out=killed"]) == 0
    whole, again = (
        json.loads((here / name / "probability.json").read_text()) for name in ("whole", "killed")
    )
    assert again["probabilities"] == whole["probabilities"]
    assert before > 0
    assert asked == whole["evaluations"] + whole["design_evaluations"] - before


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (["above=1", "precision=0"], "precision=0: must be between 0 and 1"),
        (["above=1", "evaluations=10"], "evaluations=10: must be 10000 or more"),
        (["above=1", "target.C_D=1"], "target.C_D='1': takes a run: btgm run, and then"),
        (["above=1", "model.size=2"], "model.size"),
        ([], "above=None: must be given"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(here, capsys, ask, told):
    assert main([*ASK[:4], *ask, "out=found"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert told in lines[0]
    assert not (here / "found").exists()


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 20])
def test_intervals_of_the_search_cover(dim):
    """Of 60 repeats at three thresholds: 95 % within four standard errors of that."""
    thresholds, repeats, inside = (2.0, 4.0, 6.0), 60, 0
    for seed in range(repeats):
        found = search(Linear(), thresholds, dim=dim, seed=seed)
        ones = [told(found, t).found for t in thresholds]
        inside += sum(one.low < norm.sf(one.t) < one.high for one in ones)
    n = repeats * len(thresholds)
    assert abs(inside / n - 0.95) < 4 * math.sqrt(0.95 * 0.05 / n)
