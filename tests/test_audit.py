"""`btgm audit`: tests with known nulls, draws that are the tilt's, and draws that are not."""

import json
import math

import numpy as np
import pytest
import torch
from experiments.bench.audit import Case, draws_of
from experiments.bench.faults import (
    LOG_P,
    STEP,
    Line,
    T,
    best_of,
    drawn,
    linear,
    total_variation,
    two_modes,
    without,
    wrong_beta,
    wrong_scale,
)
from scipy.stats import norm

from btgm_cli import Status, audit, load_criterion, load_model
from btgm_cli.cli import main
from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import Particles
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.store.runs import read_table
from btgm_cli.truth.audit_verdict import FALSE_ALARMS
from btgm_cli.truth.two_sample import (
    Comparison,
    HeldOut,
    Rows,
    classifier_test,
    distribution_test,
    mean_test,
    missed,
    neighbours,
    quadratic,
    shares_test,
)

BETA, DIM, N = 0.5, 4, 2000


def tilt(n=N, beta=BETA, seed=0):
    """Exact draws of the linear criterion's tilt of a Gaussian."""
    return load_criterion("linear").tilted(beta, noise(n, DIM, seed))


def noise(n, dim, seed):
    return torch.randn(n, dim, generator=derived_generator(seed, "test audit"))


def judged(z, beta=BETA, **more):
    return audit(z, Gaussian(DIM), load_criterion("linear"), beta, **more)


# The tests, by closed forms.


def test_a_row_that_repeats_carries_what_kish_says():
    z = noise(4, 3, 0)
    rows = Rows.of(torch.cat([z, z[:1], z[:1]]))  # counts 3, 1, 1, 1
    assert rows.distinct == 4
    assert rows.largest_share == 0.5
    assert rows.effective == pytest.approx(36 / 12)
    assert Rows.of(z, most=2.5).effective == 2.5


def test_the_mean_is_tested_by_its_normal_distribution():
    values = np.tile([-1.0, 3.0], 50)  # mean 1, deviation 2
    found = mean_test(values, 0.6, 0.0, 2.0, 100)
    assert found.error == pytest.approx(0.2)
    assert found.p == pytest.approx(2 * norm.sf(2.0))
    # Of N(0, 2²) and N(0.4, 2²): 2 Φ(0.1) − 1.
    assert found.size == pytest.approx(2 * norm.cdf(0.1) - 1)
    assert mean_test(np.ones(9), 1.0, 0.0, 0.0, 9).p == 1
    assert mean_test(np.ones(9), 2.0, 0.0, 0.0, 9).p == 0


def test_the_largest_distance_of_distribution_functions_is_found():
    found = distribution_test("f", np.arange(10.0), np.arange(10.0) + 3, 10, 10)
    assert found.size == pytest.approx(0.3)
    assert found.draws - found.reference == pytest.approx(0.3)
    # Kolmogorov's series at 0.3 √5, summed by hand.
    at = 0.3 * math.sqrt(5)
    series = 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * at) ** 2) for k in range(1, 50))
    assert found.p == pytest.approx(series)


def test_shares_of_classes_are_tested_with_the_rare_ones_together():
    same = shares_test((0.5, 0.499, 0.001), (0.5, 0.499, 0.001), 1000, 1000)
    assert same.p == pytest.approx(1.0)
    # Pearson's statistic of a 2 × 2 table by hand: n (a − b)² / (2 p (1 − p)), p pooled.
    off = shares_test((0.5, 0.5), (0.55, 0.45), 1000, 1000)
    statistic = 1000 * 0.05**2 / (2 * 0.525 * 0.475)
    assert off.p == pytest.approx(2 * norm.sf(math.sqrt(statistic)), rel=1e-6)
    assert off.size == pytest.approx(0.05)


@pytest.mark.parametrize("classifier", [quadratic, neighbours])
def test_under_the_null_a_classifiers_p_is_small_as_seldom_as_it_says(classifier):
    p = []
    for seed in range(100):
        a, b = noise(300, 5, 2 * seed).double(), noise(600, 5, 2 * seed + 1).double()
        sides = (a, Rows.of(a)), (b, Rows.of(b))
        p.append(classifier_test("c", classifier, *sides, derived_generator(seed)).test.p)
    below = np.mean(np.array(p) < 0.1)
    assert below <= 0.1 + 4 * math.sqrt(0.1 * 0.9 / 100)


def test_the_area_is_that_of_two_shifted_normals():
    """Two normal distributions with means 1 apart: Φ(1/√2)."""
    a, b = noise(4000, 2, 0).double(), noise(4000, 2, 1).double()
    b[:, 0] += 1
    found = classifier_test("c", quadratic, (a, Rows.of(a)), (b, Rows.of(b)), derived_generator(0))
    assert abs(found.test.draws - norm.cdf(math.sqrt(0.5))) < 4 * found.test.error
    assert found.test.p < 1e-30


def test_repeats_never_teach_a_classifier_what_it_is_asked():
    """All of them lie in one fold, so that ten copies of noise look like noise."""
    a = noise(100, 3, 0).double().repeat(10, 1)
    b = noise(1000, 3, 1).double()
    sides = (a, Rows.of(a)), (b, Rows.of(b))
    assert classifier_test("c", neighbours, *sides, derived_generator(0)).test.p > 1e-3


def test_what_is_missed_is_the_share_that_the_other_side_lacks():
    """A tenth of the tilt lies where no draw is, and the other way round nothing."""
    none = Comparison("c", 0.5, 0.5, 0.0, 1.0, 0.0)
    even = np.linspace(0, 1, 5000)
    lost, stray = missed(HeldOut(none, even, np.concatenate([even, np.full(555, 2.0)])))
    assert lost == pytest.approx(555 / 5555, abs=2e-3)
    assert stray == 0


# Planted faults are as large as they say.


def test_a_line_has_the_tilts_of_its_closed_form():
    line = Line(linear, DIM, seed=0)
    right = norm.pdf(T, 0.7)
    assert np.abs(line.tilt(0.7) - right).max() < 1e-6
    assert line.mean(line.tilt(0.7)) == pytest.approx(0.7, abs=1e-6)
    x = line.place(drawn(line.tilt(0.7), 20_000, derived_generator(0)), 1.0, derived_generator(1))
    assert abs((x @ line.direction).mean().item() - 0.7) < 4 / math.sqrt(20_000)
    across = x - (x @ line.direction)[:, None] * line.direction
    assert abs(across.square().sum(1).mean().item() - (DIM - 1)) < 4 * math.sqrt(
        2 * (DIM - 1) / 20_000
    )
    exact = norm.logpdf((x - 0.7 * line.direction).numpy()).sum(1)
    assert np.allclose(line.log_density(x, 0.7).numpy(), exact, atol=1e-3)


def test_faults_have_the_size_asked_for():
    line = Line(linear, DIM, seed=0)
    right = line.tilt(1.0)
    assert total_variation(without(right, 0.2), right) == pytest.approx(0.2, abs=1e-3)
    up = wrong_beta(line, 1.0, 0.1, up=True)
    # N(1, 1) and N(b, 1) are 2 Φ((b − 1) / 2) − 1 apart.
    assert line.mean(up) == pytest.approx(1 + 2 * norm.ppf(0.55), abs=1e-3)
    scale = wrong_scale(1, 0.1, up=True)
    other = np.exp(LOG_P * 0 - 0.5 * (T / scale) ** 2) / (scale * math.sqrt(2 * math.pi))
    assert total_variation(other, np.exp(LOG_P)) == pytest.approx(0.1, abs=1e-3)


def test_the_best_of_two_has_the_known_mean():
    assert (best_of(2) * T).sum() * STEP == pytest.approx(1 / math.sqrt(math.pi), abs=1e-5)


def test_the_tilt_of_two_modes_has_their_shares():
    density = Line(two_modes(0.3), 2, 0).tilt(1.0)
    assert density[T < 0].sum() * STEP == pytest.approx(0.3, abs=1e-3)


# Verdicts.


def test_draws_of_the_tilt_are_ok():
    found = judged(tilt())
    assert found.status is Status.OK
    assert found.verdict.reason == found.remedy == ""
    figures = found.figures
    assert abs(figures.mean_f - BETA) < 4 * figures.mean_f_se
    assert figures.mean_f_se == pytest.approx(1 / math.sqrt(N), rel=0.1)
    assert figures.n_effective == figures.n == N
    assert figures.coverage > 0.98 < figures.precision
    assert found.limit == FALSE_ALARMS / len(figures.comparisons)


def test_with_log_q_the_gap_is_that_of_the_density():
    """Of the exact density 0; of another's draws KL(N(m) ‖ N(β)) = (m − β)² / 2."""
    a = torch.ones(DIM) / DIM**0.5

    def log_normal(z, m):
        return Gaussian(DIM).prior_log_prob(z - m * a)

    right = judged(tilt(), log_q=log_normal(tilt(), BETA)).figures.weights
    assert abs(right.kl_gap) < 1e-5
    assert right.ess_fraction == pytest.approx(1.0)
    off = tilt(beta=BETA + 1)
    wrong = judged(off, log_q=log_normal(off, BETA + 1)).figures.weights
    assert abs(wrong.kl_gap - 0.5) < 4 * wrong.kl_gap_se
    too_low = judged(tilt(), log_q=log_normal(tilt(), BETA) - 0.1)
    assert too_low.status is Status.UNDERTRAINED
    assert "never below 0" in too_low.verdict.reason
    too_high = judged(tilt(), log_q=log_normal(tilt(), BETA) + 0.3)
    assert too_high.status is Status.UNDERTRAINED
    assert "kl_gap is 0.3" in too_high.verdict.reason


@pytest.mark.parametrize("kind", ["leak", "beta up", "beta down", "scale up", "scale down"])
def test_a_planted_fault_is_caught(kind):
    x, beta, size = draws_of(Case(kind, "linear", 8, 0.2, N, "z", 0))
    assert size == pytest.approx(0.2, abs=1e-3)
    found = audit(x, Gaussian(8), Case(kind, "linear", 8, 0.2, N, "z", 0).line.criterion, beta)
    assert found.status is Status.UNDERTRAINED
    assert "p = " in found.verdict.reason


@pytest.mark.parametrize("dim", [2, 64])
def test_a_lost_mode_is_called_one(dim):
    case = Case("mode dropped", "two modes, 20%", dim, 0.2, N, "z", 0)
    x, beta, _ = draws_of(case)
    found = audit(x, Gaussian(dim), case.line.criterion, beta)
    assert found.status is Status.MODE_DROPPED
    assert abs(found.figures.coverage - 0.8) < 0.05
    assert found.figures.precision > 0.98


def test_a_narrowed_optimizer_is_caught():
    x, beta, _ = draws_of(Case("collapse", "linear", 8, 0.5, N, "z", 0))
    line = Case("collapse", "linear", 8, 0.5, N, "z", 0).line
    assert audit(x, Gaussian(8), line.criterion, beta).status is not Status.OK


def test_repeats_are_caught_and_few_are_taken():
    few, many = tilt(), tilt()
    few[:40] = few[40:80]
    many[: N // 5] = many[-N // 5 :]
    assert judged(few).status is Status.OK
    found = judged(many)
    assert found.status is Status.UNDERTRAINED
    assert "20.0% of the rows repeat others" in found.verdict.reason
    assert found.figures.n_distinct == N - N // 5


def test_one_draw_that_takes_a_fiftieth_is_caught():
    z = tilt()
    z[:40] = z[0]
    assert "one draw takes 2.0%" in judged(z).verdict.reason


def test_too_few_draws_are_not_called_ok():
    found = judged(tilt(n=500))
    assert found.status is Status.UNDERTRAINED
    assert "500 draws do not show every fault" in found.verdict.reason
    assert found.remedy == "give 1000 draws or more"


def test_a_reference_that_knows_too_little_gives_no_verdict():
    def steep(x):
        return 4 * x[:, 0]

    found = audit(tilt(), Gaussian(DIM), steep, 1.0, n_reference=1000, n_particles=100)
    assert found.status is Status.UNRELIABLE_REFERENCE
    assert "raise n_reference" in found.remedy


class Signs:
    """f = x₀, with the sign of x₁ as the class."""

    n_classes = 2

    def __call__(self, x):
        return x[:, 0]

    def classes(self, x):
        return (x[:, 1] > 0).long()


def test_shares_of_classes_are_compared_and_a_lost_one_named():
    x = noise(N, DIM, 3)
    found = audit(x, Gaussian(DIM), Signs(), 0.0)
    assert found.status is Status.OK
    assert "class_shares" in [test.test for test in found.figures.comparisons]
    x[:, 1] = torch.where(noise(N, 1, 4)[:, 0] < 1.5, x[:, 1].abs(), x[:, 1])
    found = audit(x, Gaussian(DIM), Signs(), 0.0)
    assert found.status is Status.MODE_DROPPED
    assert "class 0 has" in found.verdict.reason


class Doubled(Gaussian):
    """x = 2 z."""

    def decode(self, z):
        return 2 * z


def test_draws_of_x_alone_are_judged():
    def f(x):
        return x[:, 0] / 2

    z = noise(N, DIM, 5)
    right, wrong = 2 * z, 2.4 * z
    assert audit(None, Doubled(DIM), f, 0.0, x=right).status is Status.OK
    assert audit(None, Doubled(DIM), f, 0.0, x=wrong).status is Status.UNDERTRAINED


def test_the_same_seed_gives_the_same_figures():
    assert judged(tilt()).figures == judged(tilt()).figures


def test_the_tilts_own_repeats_are_not_held_against_it():
    """A reference of few distinct draws is worth no more than those."""
    from btgm_cli.core.latent_criterion import LatentCriterion
    from btgm_cli.truth.audit import Draws, examine_draws

    f = LatentCriterion(Gaussian(DIM), load_criterion("linear"))
    exact = load_criterion("linear").closed_form(Gaussian(DIM))

    class Repeating:
        f_evals = 0

        def at(self, beta):
            return exact.at(beta)

        def particles(self, beta, n, generator):
            few = exact.particles(beta, n // 5, generator)
            return Particles(few.z.repeat(5, 1), few.f.repeat(5))

    figures, _ = examine_draws(Draws(tilt()), f, BETA, Repeating(), seed=0)
    assert figures.n_compare == pytest.approx(2000)
    assert min(test.p for test in figures.comparisons) > 1e-3


# Refusals.


@pytest.mark.parametrize(
    ("z", "more", "told"),
    [
        (torch.zeros(200, DIM + 1), {}, f"must be floats of shape (n, {DIM})"),
        (torch.zeros(200), {}, "must be floats"),
        (torch.zeros(200, DIM).long(), {}, "must be floats"),
        (torch.zeros(99, DIM), {}, "must be 100 draws or more"),
        (torch.full((200, DIM), math.nan), {}, "must be finite"),
        (tilt(200), {"log_q": torch.zeros(199)}, "a value for each of the 200"),
        (tilt(200), {"log_q": torch.full((200,), math.inf)}, "log_q="),
        (None, {"log_q": torch.zeros(200)}, "give them too"),
        (None, {}, "x="),
        (None, {"x": torch.zeros(200, DIM + 1)}, "x="),
        (tilt(200), {"beta": -1.0}, "beta=-1.0"),
        (tilt(200), {"beta": math.nan}, "beta=nan"),
    ],
)
def test_draws_that_cannot_be_used_are_refused_in_one_line(z, more, told):
    with pytest.raises(SettingError) as refused:
        judged(z, **{"beta": BETA, **more})
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


# The command.

ASK = ["model=gaussian", "model.latent_dim=4", "criterion=linear", f"target.betas=[{BETA}]"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("right.npz", z=tilt().numpy(), other=np.zeros(3))
    np.savez("wrong.npz", z=1.2 * tilt().numpy())
    np.save("right.npy", tilt().numpy())
    return tmp_path


def test_the_command_writes_its_figures_and_ends_by_the_verdict(here, capsys):
    assert main(["audit", "right.npz", *ASK, "out=right"]) == 0
    assert main(["audit", "right.npy", *ASK]) == 0
    assert main(["audit", "wrong.npz", *ASK, "out=wrong"]) == 3
    assert "verdict    undertrained" in capsys.readouterr().out
    for name, status in (("right", "ok"), ("wrong", "undertrained")):
        about = json.loads((here / name / "audit.json").read_text())
        assert about["status"] == status
        assert about["n_distinct"] == N
        assert about["reference"]["mean"] == BETA
        tests = read_table(here / name / "audit.csv")
        assert tests["failed"].any() == (status != "ok")
        assert (here / name / "audit.png").stat().st_size > 10_000
    (default,) = (here / "outputs" / "audit" / "gaussian" / "linear").iterdir()
    assert (default / "audit.json").is_file()


def test_the_picture_is_drawn_from_the_files_alone(here):
    from btgm_cli.report.audit import draw_audit

    main(["audit", "right.npz", *ASK, "out=right"])
    before = (here / "right" / "audit.png").read_bytes()
    (here / "right" / "audit.png").unlink()
    draw_audit(here / "right")
    assert (here / "right" / "audit.png").read_bytes() == before


def test_draws_come_from_parquet(here):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    z = tilt().numpy()
    pd.DataFrame({f"z{k}": z[:, k] for k in reversed(range(DIM))}).to_parquet("draws.parquet")
    assert main(["audit", "draws.parquet", *ASK, "out=found"]) == 0
    assert json.loads((here / "found" / "audit.json").read_text())["mean_f"] == pytest.approx(
        float(z.mean(1).mean() * 2), rel=1e-5
    )


def test_parquet_without_pyarrow_is_told_in_one_line(here, capsys, monkeypatch):
    (here / "draws.parquet").touch()
    monkeypatch.setattr("btgm_cli.cli.given_draws.find_spec", lambda name: None)
    assert main(["audit", "draws.parquet", *ASK]) == 2
    assert "pip install 'btgm[parquet]'" in capsys.readouterr().err


def test_nothing_pickled_is_read(here, capsys):
    np.savez("odd.npz", z=np.array([{"a": 1}], dtype=object))
    assert main(["audit", "odd.npz", *ASK]) == 2
    assert "holds pickled objects" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["none.npz"], "there is no such file"),
        (["right.csv"], "must end in .npz, .npy, .parquet"),
        (["torn.npz"], "cannot be read"),
        (["torn.parquet"], "cannot be read"),
        (["empty.npz"], "holds neither z nor x"),
        (["whole.npz"], "must be of floats"),
        (["right.npz", "target.betas=[0,1]"], "must be the one β"),
        (["right.npz", "target.betas=null"], "must be the one β"),
        (["right.npz", "model.latent_dim=3"], "must be floats of shape (n, 3)"),
        (["right.npz", "out=taken"], "already holds an audit.json"),
        (["right.npz", "n=5"], "n='5': unknown setting"),
        (["right.npz", "n_reference=1"], "n_reference=1: must be 1000 or more"),
        (["right.npz", "verdict.coverage=2"], "verdict.coverage=2"),
        (["seed=1"], "name a file of draws first"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_writes_nothing(here, capsys, argv, told):
    (here / "taken").mkdir()
    (here / "taken" / "audit.json").touch()
    for name in ("torn.npz", "torn.parquet"):
        (here / name).write_bytes(b"PK\x03\x04 torn")
    np.savez("empty.npz", f=np.zeros(3))
    np.savez("whole.npz", z=np.zeros((200, 4), dtype=int))
    before = sorted(here.rglob("*"))
    assert main(["audit", argv[0], *ASK, *argv[1:]]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
    assert sorted(here.rglob("*")) == before


def test_the_help_shows_the_settings(capsys):
    assert main(["audit", "--help"]) == 0
    assert "target.betas=[b]" in capsys.readouterr().out
    assert main(["audit"]) == 2


@pytest.mark.slow  # decodes thousands of images
def test_a_model_of_the_package_is_audited_by_its_images():
    """gan_mnist's own draws are those of its tilt at 0, by their images alone."""
    model, criterion = load_model("gan_mnist"), load_criterion("log_class4")
    with torch.no_grad():
        x = model.decode(model.sample_prior(1200, derived_generator(9)))
    found = audit(None, model, criterion, 0.0, x=x, n_reference=4000, n_particles=800)
    assert found.status is Status.OK, found.verdict
    lost = criterion.classes(x) != 3
    found = audit(None, model, criterion, 0.0, x=x[lost], n_reference=4000, n_particles=800)
    assert found.status is Status.MODE_DROPPED
    assert "class 3 has 0.0% of the draws" in found.verdict.reason
