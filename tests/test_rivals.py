"""Samplers of other people's in the bench, in whose place stands importance sampling from p."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from experiments.bench import foreign, gan
from experiments.bench.rivals import FOREIGN, Contest

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tilt.estimates import log_mean_weight

BETA, DIM, ASKED = 0.5, 3, 500
SPENT = 20 * ASKED


class Nautilus:
    """As `nautilus.Sampler`, in the unit cube."""

    def __init__(self, prior, likelihood, *, n_dim, vectorized, pass_dict, seed):
        assert vectorized
        assert not pass_dict
        self.u = np.random.default_rng(seed).random((SPENT, n_dim))
        self.values = lambda: likelihood(prior(self.u))

    def run(self, n_eff):
        assert n_eff == ASKED
        self.log_l = self.values()
        self.log_z = np.logaddexp.reduce(self.log_l) - math.log(SPENT)
        self.n_like = SPENT

    def posterior(self):
        return self.u, self.log_l - np.logaddexp.reduce(self.log_l), self.log_l


class Pocomc:
    """As `pocomc.Sampler`, with NumPy's and torch's global generators."""

    def __init__(self, prior, likelihood, *, vectorize, pytorch_threads, random_state):
        assert vectorize
        torch.set_num_threads(pytorch_threads)
        np.random.seed(random_state)  # noqa: NPY002
        torch.manual_seed(random_state)
        self.values = lambda: likelihood(prior)

    def run(self, n_total, progress):
        assert n_total == ASKED
        assert not progress
        self.log_l, self.calls = self.values(), SPENT

    def posterior(self):
        return None, np.exp(self.log_l) / np.exp(self.log_l).sum(), self.log_l, None

    def evidence(self):
        return np.logaddexp.reduce(self.log_l) - math.log(SPENT), 0.01


@pytest.fixture
def _stand_ins(monkeypatch):
    def prior(dists):
        return np.stack([dist.rvs(size=SPENT) for dist in dists], -1)

    monkeypatch.setitem(sys.modules, "nautilus", SimpleNamespace(Sampler=Nautilus))
    monkeypatch.setitem(sys.modules, "pocomc", SimpleNamespace(Sampler=Pocomc, Prior=prior))


@pytest.mark.usefixtures("_stand_ins")
@pytest.mark.parametrize("name", list(foreign.SAMPLERS))
def test_the_evidence_of_a_foreign_sampler_is_z(name):
    model, criterion = Gaussian(DIM), Linear()
    latent = LatentCriterion(model, criterion)
    exact = criterion.closed_form(model).at(BETA)
    contest = Contest(latent, [exact], None, 0, SimpleNamespace(effective=ASKED))
    (row,) = FOREIGN[name,](contest, [exact])
    found = foreign.SAMPLERS[name](latent, BETA, ASKED, 0)
    error = log_mean_weight(BETA * found.f)[1]
    weight = torch.softmax(found.log_weight, 0)
    mean_se = (weight * (found.f - found.mean)).norm().item()
    assert row["method"] == name
    assert 0 < row["log_z_error"] < 4 * error
    assert row["mean_error_sd"] < 4 * mean_se / math.sqrt(exact.var)
    # n over Kish's number is E w² / (E w)² = e^{β²}; its error by the delta method.
    v = BETA**2
    spread = math.sqrt((math.expm1(4 * v) + 4 * math.expm1(v) - 4 * math.expm1(2 * v)) / SPENT)
    assert row["evals_per_draw"] == pytest.approx(math.exp(v), rel=4 * spread)
    assert row["ess_fraction"] == pytest.approx(1 / row["evals_per_draw"])


def test_samplers_that_are_not_installed_are_left_out(monkeypatch, capsys):
    monkeypatch.setattr(gan, "is_installed", lambda name: name == "pocomc")
    assert list(gan.installed()) == [("pocomc",)]
    assert capsys.readouterr().out == (
        "gan: nautilus is left out; pip install 'btgm[bench]' brings it\n"
    )
    assert foreign.is_installed("torch")
    assert not foreign.is_installed("no_such_sampler")
