"""`btgm sample` without a run: exact draws by rejection, SMC or a tuning of its own."""

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from btgm_cli import Target
from btgm_cli.cli import draw_files, main
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Particles
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear, Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tilt.estimates import jackknife
from btgm_cli.truth.climbing import Climbed
from btgm_cli.truth.rejection import Rejection
from btgm_cli.tuning.choice import aim, cheapest, from_here, yet_to_pay
from btgm_cli.tuning.forecast import begun
from btgm_cli.tuning.ways import Method
from tests.marks import slow
from tests.test_forecast import problem_of
from tests.test_kills import KilledError, Killer
from tests.test_sample import arrays
from tests.test_sample_parts import left_by

DIM = 3
SMALL = ["model=gaussian", f"model.latent_dim={DIM}", "tuning.n_reference=2000"]
QUADRATIC = ["sample", *SMALL, "criterion=quadratic", "target.betas=[1]", "threads=1"]
TINY = ["flow.depth=1", "flow.hidden=[8]", "tuning.first_steps=20", "tuning.n_eval=500"]

CRITERIA = {"linear": Linear(), "quadratic": Quadratic()}


def generators(*purpose):
    return derived_generator(0, "direct", *purpose)


def gaussian(criterion, dim=DIM):
    model = Gaussian(dim)
    f = LatentCriterion(model, CRITERIA[criterion])
    return f, f.criterion.closed_form(model)


def mean_and_error(draws, worth=None):
    return draws.f.double().mean().item(), draws.f.double().std().item() / math.sqrt(
        worth or len(draws)
    )


@pytest.mark.parametrize("method", ["rejection", slow("smc")])
def test_exact_draws_are_written_with_what_they_are_worth(here, method, capsys):
    assert main([*QUADRATIC, "n=1500", f"method={method}", "out=d.npz"]) == 0
    held, about = arrays("d.npz"), json.loads((here / "d.json").read_text())
    further = {"population"} if method == "smc" else set()
    assert set(held) == {"x", "z", "log_q", "log_weight", "f"} | further
    assert held["x"].shape == held["z"].shape == (1500, DIM)
    assert (held["log_weight"] == 0).all()
    # The tilt of N(0, I) by −|x|²/2 at β = 1 is N(0, I/2), with E f = −3/4.
    assert abs(held["f"].mean() + DIM / 4) < 4 * about["mean_f_se"]
    squares = (held["z"] ** 2).sum(1)
    density = -squares - DIM / 2 * math.log(math.pi)
    error = 0 if method == "rejection" else 0.1  # nats: a larger one of log Z is no verdict
    assert np.abs(held["log_q"] - density).max() < 1e-4 + 4 * error
    assert (about["method"], about["beta"], about["verdict"]) == (method, 1, "ok")
    assert 100 < about["effective_draws"] <= 1500
    assert sorted(path.name for path in here.iterdir()) == ["d.json", "d.npz", "d.png"]
    told = capsys.readouterr().out
    assert f"method={method}: as asked" in told
    assert about["reason"] in told


@slow
def test_populations_are_a_column_of_parquet_too(here):
    pytest.importorskip("pyarrow")
    asked = [*QUADRATIC, "n=300", "method=smc", "tuning.n_particles=800"]
    assert main([*asked, "out=d.parquet"]) == 0
    assert set(pd.read_parquet("d.parquet")["population"]) == set(range(8))


def test_a_bound_that_is_raised_leaves_no_trace():
    f, exact = gaussian("quadratic")
    tilt = exact.at(2.0)
    z = 2 + torch.rand(500, DIM, generator=generators("far"))  # f ≤ −6, where the largest is 0
    source = Rejection(f, tilt, Particles(z, f(z)), 4, generators)
    parts = [source.part(index, 1000) for index in range(4)]
    while (low := source.outdated([part.about for part in parts])) is not None:
        parts[low] = source.again(parts[low], low)
    assert {part.about["best"] for part in parts} == {source.best}
    f_all = torch.cat([part.draws.f for part in parts]).double()
    assert len(f_all) == 4000
    assert f_all.max().item() <= source.best
    # E f = −dim s/2 with s = 1/(1 + β), and f has the deviation s √(dim/2).
    assert abs(f_all.mean().item() - tilt.mean) < 4 * math.sqrt(tilt.var / 4000)
    proposals = 500 + sum(part.f_evals for part in parts)
    found = source.found([part.about for part in parts], proposals - 500, 4000)
    # Of so many draws of p rejection under the largest f keeps Z e^{−β c} each.
    kept = proposals * math.exp(tilt.log_z - 2.0 * source.best)
    assert found.figures["share_beyond"] == pytest.approx(1 / max(kept, 4000))
    assert not found.trouble


def test_parts_under_a_low_bound_are_thinned_to_the_tilt():
    f, exact = gaussian("linear")
    tilt = exact.at(1.0)
    z = f.model.sample_prior(40_000, generators("p"))
    values = f(z)
    low = values < 1.0  # as if none above had been met
    source = Rejection(f, tilt, Particles(z[low], values[low]), 1, generators)
    before = source.part(0, 3000)
    capped = before.draws.f.max().item()
    assert capped < 1.0
    source.recall([{"best": values.max().item()}])
    after = source.again(before, 0)
    kept = torch.isin(after.draws.f, before.draws.f).sum().item()
    share = math.exp(before.about["best"] - source.best)
    assert abs(kept - 3000 * share) < 4 * math.sqrt(3000 * share * (1 - share))
    assert after.about["rounds"] == 1
    assert after.draws.f.max().item() > capped


def test_few_draws_near_the_largest_f_are_not_vouched_for():
    f, exact = gaussian("linear")
    z = f.model.sample_prior(1000, generators("few"))
    source = Rejection(f, exact.at(2.0), Particles(z, f(z)), 1, generators)
    assert not source.found([{"best": 0.0}], 10**6, 1000).trouble
    assert "may lie beyond" in source.found([{"best": 0.0}], 0, 20).trouble


def test_several_smc_are_worth_the_sum_and_no_more_than_their_draws():
    f, _ = gaussian("linear")
    source = Climbed(f, 1.5, 2000, generators)
    part = source.part(0, 5000)  # three of them
    worth = part.about["effective"]
    assert 100 < worth <= 5000
    mean, error = mean_and_error(part.draws, worth)
    assert abs(mean - 1.5) < 4 * error
    assert part.about["reliable"]
    # In random order, so that a few of them are as good as any.
    mean, error = mean_and_error(part.draws.at(torch.arange(200)), 200)
    assert abs(mean - 1.5) < 4 * error + 4 * math.sqrt(1 / worth)
    # Where every mean of f is a linear one, their spread is what the SMC says of E f.
    f, number = part.draws.f.double(), part.population
    assert number.unique().tolist() == list(range(8))
    spread = jackknife(lambda kept: f[kept].mean().item(), number)
    assert 0.3 < spread / (f.std().item() / math.sqrt(worth)) < 3
    unmixed = {**part.about, "reliable": 0.0}
    assert "not mixed" in source.found([part.about, unmixed], 1, 10_000).trouble


@pytest.mark.parametrize(
    ("target", "beta"),
    [(Target(C_D=0.5), 1.0), (Target(C_f=0.8), 0.8), (Target(C_f=-1.0), 0.0)],
)
def test_the_beta_of_a_target_is_the_references(target, beta):
    problem = problem_of(target, Linear())
    found, trouble = aim(problem, begun(problem, None)[0])
    assert found == pytest.approx(beta, rel=1e-6)
    assert not trouble


def test_what_nobody_can_draw_is_told():
    problem = problem_of(Target(C_f=1.0), Quadratic())
    assert "cannot be met" in aim(problem, begun(problem, None)[0])[1]
    problem = problem_of(Target(betas=[1.0]))
    problem.f.criterion = lambda x: x[:, 0] * math.nan
    assert "NaN" in aim(problem, begun(problem, None)[0])[1]


def test_the_cheapest_way_depends_on_how_far_and_how_many():
    chosen = {}
    for beta in (0.5, 2.0):
        problem = problem_of(Target(betas=[beta]))
        reference, ahead = begun(problem, None)
        ways = yet_to_pay(from_here(ahead, reference, beta), reference)
        chosen[beta] = [cheapest(ways, n).method for n in (100, 10**7)]
    # 100 draws are among those of p that the reference has paid for; of many, tuning pays once.
    assert chosen[0.5] == [Method.REJECTION, Method.TUNING]
    assert chosen[2.0][1] is Method.TUNING


@pytest.mark.slow
def test_an_smc_that_finding_beta_has_climbed_is_not_paid_twice():
    problem = problem_of(Target(C_D=4.5))
    reference, ahead = begun(problem, None)
    beta, trouble = aim(problem, reference)
    assert not trouble
    assert reference.has_climbed
    spent = reference.f_evals
    ways = yet_to_pay(from_here(ahead, reference, beta), reference)
    way = cheapest(ways, 500)
    assert (way.method, way.evaluations(500)) == (Method.SMC, 0)
    climbed = Climbed(problem.f, beta, 8000, generators, reference.smc)
    part = climbed.part(0, 500)
    assert (part.f_evals, reference.f_evals) == (0, spent)
    mean, error = mean_and_error(part.draws, part.about["effective"])
    assert abs(mean - reference.at(beta).mean) < 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rejection", "smc"])
def test_a_killed_call_goes_on_to_the_same_files(here, monkeypatch, method):
    monkeypatch.setattr(draw_files, "MOST_PER_PART", 300)
    asked = [*QUADRATIC, "n=700", f"method={method}", "tuning.n_particles=800"]
    assert main([*asked, "out=whole/d.npz"]) == 0
    whole, kills = left_by(here / "whole"), 0
    assert sorted(whole) == ["d.json", "d.npz", "d.png"]
    for at in range(1, 14):
        folder = here / f"killed-{at}"
        with monkeypatch.context() as patch:
            Killer(patch, at, behind=bool(at % 2))
            try:
                main([*asked, f"out={folder}/d.npz"])
            except KilledError:
                kills += 1
        ended = (folder / "d.json").exists()  # only the parts were left to remove
        assert main([*asked, f"out={folder}/d.npz"]) == (2 if ended else 0)
        assert left_by(folder) == whole
    assert kills >= 8


@pytest.mark.slow
def test_a_tuning_of_its_own_is_a_run_beside_the_file(here, capsys):
    own = "import torch\n\ndef first(x):\n    return x[:, 0]\n"
    (here / "own.py").write_text(own)
    (here / "criterion").mkdir()
    (here / "criterion" / "mine.yaml").write_text("_target_: own.first\n_partial_: true\n")
    asked = ["sample", *SMALL, "criterion=mine", "target.C_D=0.2", "threads=1", *TINY]
    code = main([*asked, "n=1000", "method=tuning", "out=d.npz"])
    sys.modules.pop("own", None)
    assert code in (0, 3)
    about = json.loads((here / "d.json").read_text())
    assert (about["run"], about["correct"]) == ("d.run", "resample")
    assert len(arrays("d.npz")["f"]) == 1000
    run = here / "d.run"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["target"] == {"betas": [about["beta"]]}  # which the reference knew
    assert summary["f_evals"] > 2000
    assert not (here / "d.npz.parts").exists()
    assert capsys.readouterr().out.count("estimated further cost") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["method=magic"], "method='magic': choose one of auto, rejection, smc, tuning"),
        slow(["n=0"], "n=0: must be 1 or more"),
        (["out=d.csv"], "must end in .npz or .parquet"),
        (["target.betas=[0,1]"], "target.betas=[0, 1]: must be one β"),
        slow(["target.betas=null"], "target.betas=None: must be one β"),
        (["colour=red"], "colour='red': unknown setting"),
        slow(["correct=mcmc"], "correct='mcmc': unknown setting"),
        slow(["--quick"], "option='--quick'"),
        (["target.betas=null", "target.at_least={a: 1}"], "takes a run"),
        (["scenarios.n=5"], "btgm run writes scenarios.csv"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(here, capsys, arguments, words):
    assert main([*QUADRATIC, *arguments]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not list(here.iterdir())


def test_a_way_that_leads_nowhere_is_refused(here, capsys):
    far = ["sample", *SMALL, "criterion=linear", "target.betas=[9]", "method=rejection"]
    assert main([*far, "n=1000", "out=d.npz"]) == 3
    assert "no draws: rejection would take" in capsys.readouterr().err
    assert not list(here.iterdir())


def test_nothing_is_written_over(here, capsys):
    (here / "d.npz").write_bytes(b"mine")
    assert main([*QUADRATIC, "out=d.npz"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (here / "d.npz").read_bytes() == b"mine"
