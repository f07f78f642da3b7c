"""`btgm rank`: closed forms on the Gaussian, what cannot be ranked, and the command line."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from btgm_cli.cli import main
from btgm_cli.core.errors import SettingError
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.criteria import Linear, Quadratic
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tilt.estimates import largest_reliable_k
from btgm_cli.tuning.ranking import BUDGETS, GRID, in_order, look, rank, recommend, walk
from tests.marks import slow

DIM = 8
N = 4000


@pytest.fixture(scope="module")
def z():
    return Gaussian(DIM).sample_prior(N, derived_generator(3))


def ranked(f, z, name="f", kl=1.0):
    seen = look(name, f, z)
    return rank(name, seen, walk(seen), kl)


def test_a_linear_criterion_is_a_translation_and_nothing_is_easier(z):
    row = ranked(Linear(), z)
    assert abs(row.difficulty - 1) <= 4 * row.difficulty_se < 0.4
    assert row.kl_compared == pytest.approx(1, abs=1e-4)
    # KL = β²/2.
    assert row.beta == pytest.approx(math.sqrt(2), rel=0.1)
    assert row.beta_normalized == pytest.approx(row.beta * row.std)
    slopes = [row.norm_median, row.norm_mean, row.norm_p99, row.norm_max]
    assert slopes == pytest.approx([1 / row.std] * 4)
    assert row.tail_ratio == pytest.approx(1)
    assert row.plateau == 0


@pytest.mark.parametrize("kl", [0.5, 1.0])
def test_a_quadratic_criterion_has_the_difficulty_of_its_closed_form(z, kl):
    """N(0, s I) with s = 1/(1 + u): I = u² D s and KL = D/2 (s − 1 − log s), where u = βk."""
    k = 2.0
    row = ranked(Quadratic(k), z, kl=kl)
    low, high = 0.0, 100.0
    for _ in range(60):
        u = (low + high) / 2
        s = 1 / (1 + u)
        low, high = (u, high) if DIM / 2 * (s - 1 - math.log(s)) < kl else (low, u)
    exact = u**2 * DIM * s / (2 * kl)
    assert abs(row.difficulty - exact) <= 4 * row.difficulty_se < 0.25 * exact
    assert row.beta == pytest.approx(u / k, rel=0.15)
    # |∇f| = k|z|: √χ² with D degrees of freedom, over a standard deviation of k √(D/2).
    mean = math.sqrt(2) * math.gamma((DIM + 1) / 2) / math.gamma(DIM / 2) / math.sqrt(DIM / 2)
    assert row.norm_mean == pytest.approx(mean, rel=0.05)
    assert row.plateau == 0


@pytest.mark.slow
def test_the_error_is_the_spread_over_seeds():
    model, rows = Gaussian(3), []
    for seed in range(20):
        z = model.sample_prior(1000, derived_generator(seed))
        rows.append(ranked(Quadratic(), z, kl=0.5))
    spread = np.std([row.difficulty for row in rows], ddof=1)
    claimed = np.mean([row.difficulty_se for row in rows])
    # The spread of 20 has a relative error of 1/√38.
    assert abs(spread / claimed - 1) <= 4 / math.sqrt(38)


def test_units_do_not_matter(z):
    plain = ranked(lambda x: x[:, 0].tanh(), z)
    other = ranked(lambda x: 7 - 3e-3 * -x[:, 0].tanh(), z)
    assert other.difficulty == pytest.approx(plain.difficulty, rel=1e-3)
    assert other.tail_ratio == pytest.approx(plain.tail_ratio, rel=1e-3)
    assert other.beta == pytest.approx(plain.beta / 3e-3, rel=1e-3)


def test_a_border_is_harder_than_its_logarithm_and_shows_its_plateau(z):
    def border(x):
        return torch.sigmoid(20 * (x[:, 0] - 1))

    def log_border(x):
        return torch.nn.functional.logsigmoid(20 * (x[:, 0] - 1))

    rows = in_order([ranked(border, z, "border"), ranked(log_border, z, "log_border")])
    assert [row.criterion for row in rows] == ["log_border", "border"]
    assert rows[1].plateau > 0.7
    assert rows[0].plateau < 0.3
    assert rows[1].tail_ratio > 100 * rows[0].tail_ratio
    text = recommend(rows)
    assert text.startswith("log_border comes first: difficulty ")
    assert "border" in text
    assert f"{rows[1].plateau:.0%}" in text


def test_the_largest_kl_is_known_where_f_has_a_top_and_a_bound_elsewhere(z):
    top = ranked(lambda x: torch.sigmoid(200 * x[:, 0]), z, kl=2.0)
    # Half of p is at the top: KL ≤ log 2, less than was asked for.
    assert not top.kl_max_is_bound
    assert top.kl_max == pytest.approx(math.log(2), abs=0.1)
    assert top.kl_compared == top.kl_max
    assert "no tilt reaches more" in recommend([top])
    assert math.isnan(top.pareto_k[BUDGETS.index(4.0)])
    endless = ranked(Linear(), z, kl=20.0)
    assert endless.kl_max_is_bound
    assert 1 < endless.kl_max < math.log(N)
    assert "these draws of p show no more" in recommend([endless])


def test_the_predicted_k_crosses_the_limit_where_the_walk_loses_sight(z):
    seen = look("f", Linear(), z)
    tilts = walk(seen)
    assert [tilt.beta for tilt in tilts] == list(GRID)
    row = rank("f", seen, tilts, 1.0)
    assert row.pareto_k[0] < row.pareto_k[1] < largest_reliable_k(N) < row.pareto_k[3]


def test_without_a_gradient_a_criterion_comes_last_with_the_reason(z):
    steps = ranked(lambda x: (x[:, 0] > 0).float(), z, "steps")
    rounded = ranked(lambda x: x[:, 0].round(), z, "rounded")
    rows = in_order([steps, rounded, ranked(Linear(), z, "linear")])
    assert rows[0].criterion == "linear"
    assert math.isnan(steps.norm_max)
    assert math.isnan(steps.plateau)
    assert rounded.norm_max == 0
    assert rounded.plateau == 1
    assert "steps, rounded: last for want of a gradient in z" in recommend(rows)
    assert "score gradient" in recommend([steps])
    assert "comes first" not in recommend([steps])


@pytest.mark.parametrize(
    ("f", "fault"),
    [
        (lambda x: 0 * x[:, 0] + 2, "f is 2 for every draw"),
        (lambda x: x[:, 0].log(), "not finite"),
        (lambda x: x[:, 0] + (0 * x[:, 1]).sqrt(), "gradient of f is not finite"),
        (lambda x: x, r"floats of shape \(n,\)"),
        (lambda x: x[:, 0].long(), r"floats of shape \(n,\)"),
        (lambda x: x @ torch.ones(DIM + 1), "fails on this model's x"),
    ],
)
def test_what_cannot_be_ranked_is_named(z, f, fault):
    with pytest.raises(SettingError, match=f"criteria='mine': .*{fault}"):
        look("mine", f, z)


def test_the_command_leaves_tables_and_pictures(here, capsys, monkeypatch):
    """Also of a user's criterion, in the working directory, that has no gradient."""
    (here / "own_step.py").write_text("def step(x):\n    return (x[:, 0] > 0).float()\n")
    (here / "criterion").mkdir()
    (here / "criterion" / "step.yaml").write_text("_target_: own_step.step\n_partial_: true\n")
    assert main(["rank", "model=gaussian", "criteria=[step,quadratic,linear]", "n=2000"]) == 0
    monkeypatch.delitem(sys.modules, "own_step")
    (folder,) = (here / "outputs" / "rank" / "gaussian").iterdir()
    names = {path.name for path in folder.iterdir()}
    tables = {"ranking.csv", "ranking_k.csv", "norms.npz", "ranking.json"}
    assert names == {*tables, "ranking.png", "ranking.pdf"}
    table = pd.read_csv(folder / "ranking.csv")
    assert table["criterion"].tolist() == ["linear", "quadratic", "step"]
    norms = [f"norm_{name}" for name in ("median", "mean", "p99", "max")]
    ks = [f"pareto_k_at_kl_{kl:g}" for kl in BUDGETS]
    columns = ["difficulty", "difficulty_se", *norms, "plateau", "tail_ratio", "kl_max", *ks]
    assert set(columns) <= set(table.columns)
    assert table[columns].iloc[:2].notna().all(axis=None)
    assert table[norms].iloc[2].isna().all()
    k = pd.read_csv(folder / "ranking_k.csv")
    columns = ["criterion", "beta", "beta_normalized", "kl", "ess", "pareto_k", "reliable"]
    assert k.columns.tolist() == columns
    assert len(k) == 3 * len(GRID)
    with np.load(folder / "norms.npz") as stored:
        assert [(name, stored[name].shape) for name in stored] == [
            ("linear", (2000,)),
            ("quadratic", (2000,)),
            ("step", (2000,)),
        ]
    *_, sentence, last = capsys.readouterr().out.splitlines()
    assert last.endswith(folder.name)
    assert sentence.startswith("linear comes first")
    assert json.loads((folder / "ranking.json").read_text())["recommendation"] == sentence


@pytest.mark.slow
def test_the_same_seed_ranks_to_the_bit(here, monkeypatch):
    monkeypatch.setattr("btgm_cli.cli.rank.draw_ranking", lambda path: None)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        ask = ["model=gaussian", "criteria=[linear]", "n=1000", f"seed={seed}", f"out={name}"]
        assert main(["rank", *ask]) == 0
    for file in ("ranking.csv", "ranking_k.csv", "norms.npz"):
        a, b, c = ((here / name / file).read_bytes() for name in "abc")
        assert a == b != c


@pytest.mark.slow
def test_on_the_gan_the_log_of_a_class_comes_before_the_class(here, capsys, monkeypatch):
    """Nines: of all digits, the two are furthest apart there."""
    monkeypatch.setattr("btgm_cli.cli.rank.draw_ranking", lambda path: None)
    assert main(["rank", "criteria=[class9,log_class9]", "n=1500", "out=gan"]) == 0
    table = pd.read_csv(here / "gan" / "ranking.csv").set_index("criterion")
    assert table.index.tolist() == ["log_class9", "class9"]
    # Most of p is on the plateau of h, and hardly any of it on that of log h.
    assert table["plateau"]["class9"] > 0.7
    assert table["plateau"]["log_class9"] < 0.2
    assert table["tail_ratio"]["class9"] > 100 * table["tail_ratio"]["log_class9"]
    assert "60-100 for h, 10-15 for log h" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("criteria=[linaer]", "criteria='linaer': unknown (did you mean linear?)"),
        ("criteria=[]", "criteria=[]: must be a list"),
        ("criteria=linear", "criteria='linear': must be a list"),
        ("criteria=[linear,linear]", "different criteria"),
        ("criteria=[normalized]", "criteria='normalized': criterion.of='LogClass': f fails on x"),
        ("criteria=[normalized]", "for another one there, add a YAML of your own"),
        ("criteria=[sum]", "criteria='sum': criterion.terms.first='LogClass': f fails"),
        slow("threads=100000", "threads=100000: must be from 1 to"),
        slow("seed=0,1", "seed='0,1': must be one value"),
        ("~n", "n='~': cannot be taken away"),
        ("criteria=[class4]", "criteria='class4': f fails on x of shape"),
        ("n=999", "n=999: must be 1000 or more"),
        slow("n=1e4", "n=10000.0: must be a whole number"),
        ("kl=0", "kl=0: must be a positive number of nats"),
        slow("kl=much", "kl='much': must be"),
        slow("seed=-1", "seed=-1: must be"),
        slow("threads=0", "threads=0: must be"),
        slow("device=tpu", "device='tpu': choose one of"),
        slow("out=3", "out=3: must be a path"),
        ("out=taken", "out='taken': already holds ranking.csv"),
        ("draws=5", "draws='5': unknown setting"),
        slow("+draws=5", "draws=5: unknown setting"),
        ("hydra.run.dir=X", "hydra.run.dir='X': unknown setting"),
        slow("hydra/job_logging=none", "hydra/job_logging='none': unknown setting"),
        slow("seed=true", "seed=True: must be a whole number"),
        slow("criterion=linear", "criterion='linear': unknown setting"),
        slow("model=gauss", "model='gauss': unknown"),
    ],
)
def test_a_bad_setting_is_named_and_nothing_is_written(here, capsys, setting, named):
    (here / "taken").mkdir()
    (here / "taken" / "ranking.csv").touch()
    given = ["model=gaussian", "criteria=[linear,quadratic]", "n=1000", setting]
    assert main(["rank", *given]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in here.iterdir()] == ["taken"]


def test_the_help_shows_the_settings(capsys):
    assert main(["rank", "--help"]) == 0
    assert "criteria: [class4, log_class4]" in capsys.readouterr().out


def test_within_the_error_of_the_difficulty_the_smaller_plateau_comes_first(z):
    def row_of(name, difficulty, error, plateau):
        row = ranked(Linear(), z, name)
        return replace(row, difficulty=difficulty, difficulty_se=error, plateau=plateau)

    flat, sloping = row_of("flat", 40.0, 6.0, 0.85), row_of("sloping", 44.0, 3.0, 0.08)
    far = row_of("far", 400.0, 9.0, 0.0)
    rows = in_order([far, flat, sloping])
    assert [row.criterion for row in rows] == ["sloping", "flat", "far"]
    assert "within the error; the smaller plateau decides" in recommend(rows)


@pytest.mark.slow
def test_on_all_ten_digits_the_log_of_a_class_comes_before_the_class(here):
    names = [f"{kind}{digit}" for digit in range(10) for kind in ("class", "log_class")]
    assert main(["rank", f"criteria=[{','.join(names)}]", "out=ranked"]) == 0
    order = pd.read_csv(here / "ranked" / "ranking.csv")["criterion"].tolist()
    for digit in range(10):
        assert order.index(f"log_class{digit}") < order.index(f"class{digit}")
