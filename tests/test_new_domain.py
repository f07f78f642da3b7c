"""A domain outside the package: a folder and its YAMLs, and nothing else changes."""

import sys

import pandas as pd
import pytest

from btgm_cli.cli import main

WIDE = '''
"""x = 2 z under f(x) = x₀: the tilt at β is N(2β e₀, I), so E f = 4β and KL = log Z = 2β²."""

import math
from dataclasses import dataclass

import torch

from btgm_cli import StandardNormal
from btgm_cli.core.results import Particles, Reference


class Wide(StandardNormal):
    def decode(self, z):
        return 2 * z


class First:
    def __call__(self, x):
        return x[:, 0]

    def closed_form(self, model):
        return Tilts(model) if type(model) is Wide else None


@dataclass
class Tilts:
    model: Wide
    f_evals: int = 0

    def at(self, beta):
        kl = 2 * beta**2
        known = {"method": "closed_form", "ess": math.inf, "pareto_k": -math.inf, "reliable": True}
        return Reference(beta, 4 * beta, 0.0, 4.0, 0.0, kl, 0.0, kl, 0.0, **known)

    def particles(self, beta, n, generator):
        z = self.model.sample_prior(n, generator)
        z[:, 0] += 2 * beta
        return Particles(z, 2 * z[:, 0].double())
'''


@pytest.fixture
def domain(tmp_path, monkeypatch):
    """The folder of the domain in the working directory, its YAMLs elsewhere."""
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "__init__.py").write_text(WIDE)
    yamls = {"model/wide": "Wide\nlatent_dim: 3", "criterion/first": "First"}
    for name, text in yamls.items():
        path = tmp_path / "yamls" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"_target_: wide.{text}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    monkeypatch.delitem(sys.modules, "wide")


def test_a_new_domain_is_a_folder_and_its_yamls(domain):
    quick = ["tuning.first_steps=40", "tuning.steps=20", "tuning.n_eval=500"]
    quick += ["tuning.min_acceptance_rate=1", "tuning.learning_rate=0.02", "flow.depth=2"]
    given = [
        "model=wide",
        "criterion=first",
        "target.betas=[0,0.25,0.5]",
        "flow.hidden=[8]",
        *quick,
    ]
    search = f"hydra.searchpath=[file://{domain / 'yamls'}]"
    assert main(["run", *given, search, "hydra.run.dir=made"]) in (0, 3)
    table = pd.read_csv("made/pareto.csv")
    assert table["ref_method"].tolist() == ["closed_form"] * 3
    assert table["mean_f_ref"].tolist() == [0.0, 1.0, 2.0]
    assert table["mean_f"].iloc[-1] > 1
