"""`make bench`: exact targets, tables that are taken up again, and bad settings."""

import math

import pytest
import torch
from experiments.bench import audit, corrected, gan, standard, steps
from experiments.bench.__main__ import main
from experiments.bench.table import Table
from experiments.bench.targets import funnel10, gmm9, gmm40, many_well32
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from btgm_cli.core.errors import SettingError
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.densities.means import MEANS
from btgm_cli.store.tables import read_table
from btgm_cli.tilt.estimates import log_mean_weight
from btgm_cli.truth.references import tilts_at

N = 20_000
GRID = torch.cartesian_prod(*[torch.tensor([-5.0, 0.0, 5.0]).double()] * 2)


def from_mixture(means, std):
    """Draws exactly, and their log density, of Gaussians of equal weight with these means."""

    def draw(generator):
        which = torch.randint(len(means), (N,), generator=generator)
        x = means[which] + std * noise(2, generator)
        parts = Independent(Normal(means, std), 1)
        each = Categorical(torch.ones(len(means)).double())
        return x, MixtureSameFamily(each, parts).log_prob(x)

    return draw


def from_funnel(generator):
    """Exact draws of the funnel."""
    white = noise(10, generator)
    v, scale = 3 * white[:, :1], torch.exp(1.5 * white[:, :1])
    x = torch.cat([v, scale * white[:, 1:]], -1)
    rest = Normal(0.0, scale).log_prob(x[:, 1:]).sum(-1)
    return x, Normal(0.0, 3.0).log_prob(v).squeeze(-1) + rest


def near_wells(generator):
    """Draws of two Gaussians in each well, close to the target but not it."""
    shares, means = torch.tensor([0.15, 0.85]).double(), torch.tensor([-1.7, 1.74]).double()
    upper = (torch.rand(N, 16, generator=generator).double() < 0.85).long()
    wells = means[upper] + 0.22 * noise(16, generator)
    flat = noise(16, generator)
    log_q = MixtureSameFamily(Categorical(shares), Normal(means, 0.22)).log_prob(wells)
    x = torch.stack([wells, flat], -1).flatten(1)
    return x, (log_q + Normal(0.0, 1.0).log_prob(flat)).sum(-1)


def noise(dim, generator):
    return torch.randn(N, dim, generator=generator, dtype=torch.double)


@pytest.mark.parametrize(
    ("build", "propose"),
    [
        (gmm40, from_mixture(torch.tensor(MEANS).double(), 1.0)),
        (gmm9, from_mixture(GRID, math.sqrt(0.3))),
        (funnel10, from_funnel),
        (many_well32, near_wells),
    ],
)
def test_the_exact_log_z_is_that_of_the_weights(build, propose):
    target = build()
    x, log_q = propose(derived_generator(0, "targets"))
    model = target.model
    log_p = model.log_prob(x)
    assert torch.allclose(model.decode(model.encode(x)), x)
    log_z, error = log_mean_weight(target.criterion(x) + log_p - log_q)
    # The error vanishes where the draws are exact; then rounding is left.
    assert abs(log_z - target.log_z) < 4 * error + 1e-6
    assert error < 0.05


def test_the_log_z_of_the_wells_is_the_published_one():
    # fab-jax has the integral of one well as 11784.50927.
    pair = math.log(11784.50927) + 0.5 * math.log(2 * math.pi)
    assert many_well32().log_z == pytest.approx(16 * pair, abs=1e-7)


def test_the_mixture_integrates_to_one_by_quadrature():
    target = gmm9()
    grid = torch.linspace(-15, 15, 301, dtype=torch.double)
    x = torch.cartesian_prod(grid, grid)
    mass = (-target.energy(x)).exp().sum().item() * (30 / 300) ** 2
    assert mass == pytest.approx(1.0, abs=1e-6)


def test_a_tuned_path_meets_the_kl_asked_for():
    class Line:
        """KL = β²/2, as a linear criterion on a Gaussian has."""

        def at(self, beta):
            from btgm_cli.domains.analytic.criteria import Linear

            return Linear().gaussian_tilt(beta, 2)

    found = tilts_at(Line(), (0.5, 2.0, 4.5))
    assert [tilt.beta for tilt in found] == pytest.approx([1.0, 2.0, 3.0])


@pytest.fixture(scope="module")
def benched(tmp_path_factory):
    """A folder with the tables of a quick bench."""
    out = tmp_path_factory.mktemp("bench")
    assert main([f"out={out}", "quick=true", "seeds=1"]) == 0
    return out


@pytest.mark.slow
def test_a_quick_bench_fills_all_tables(benched):
    for name, columns, rows in (
        ("audit", audit.COLUMNS, 11),
        ("steps", steps.COLUMNS, 4),
        ("gan", gan.COLUMNS, 5),
        ("corrected", corrected.COLUMNS, 4),
        ("targets", standard.COLUMNS, 12),
    ):
        table = read_table(benched / "quick" / f"{name}.csv")
        assert tuple(table.columns) == columns
        assert len(table) == rows
    assert (table["log_z_error"] >= 0).all()


@pytest.mark.slow
def test_the_bench_of_load_fills_its_table(benched):
    table = read_table(benched / "quick" / "energy.csv")
    assert table["method"].tolist() == ["rejection", "smc", "tuned", "tuned + corrected"]
    assert table["q99_error"].iloc[1:].abs().max() < 1
    assert table["mean_error"].iloc[1:].abs().max() < 1


@pytest.mark.slow
def test_the_bench_of_audits_catches_large_faults_and_passes_the_tilt(benched):
    table = read_table(benched / "quick" / "audit.csv").set_index("kind")["status"]
    assert table.pop("healthy") == "ok"
    assert set(table) == {"mode_dropped", "undertrained"}


@pytest.mark.slow
def test_finished_rows_are_not_computed_again(benched, monkeypatch, capsys):
    for module in (audit, steps, standard, corrected):
        monkeypatch.setattr(module, "measure", None)
    monkeypatch.setattr(gan, "Estimated", None)
    before = {path: path.read_bytes() for path in (benched / "quick").iterdir()}
    assert main([f"out={benched}", "quick=true", "seeds=1"]) == 0
    assert {path: path.read_bytes() for path in (benched / "quick").iterdir()} == before
    printed = capsys.readouterr().out
    assert f"torch {torch.__version__}" in printed.splitlines()[0]
    assert "published 0.00269 (gmm_v1)" in printed


def test_a_table_goes_on_where_it_was_cut_short(tmp_path):
    values = [math.pi / k for k in range(1, 50)]
    first = Table(tmp_path / "t.csv", ("seed", "kl", "value", "note"), key=2)
    for k, value in enumerate(values):
        first.add({"seed": k, "kl": 2.3, "value": value})
    again = Table(first.path, first.columns, key=2)
    assert again.has(48, 2.3)
    assert not again.has(49, 2.3)
    again.add({"seed": 49, "kl": 2.3, "value": 0.1, "note": "last"})
    assert read_table(first.path)["value"].tolist() == [*values, 0.1]


def test_a_table_of_other_columns_is_left_alone(tmp_path):
    Table(tmp_path / "t.csv", ("a", "b"), key=1).add({"a": 1, "b": 2})
    with pytest.raises(SettingError, match="other columns"):
        Table(tmp_path / "t.csv", ("a", "c"), key=1)


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("seed=3", "did you mean seeds"),
        ("quick", "must be given as SETTING=VALUE"),
        ("seeds=0", "must be 1 or more"),
        ("seeds=two", "whole number"),
        ("parts=gan,nuts", "startup, steps, gan, targets"),
        ("quick=yes", "true or false"),
        ("out=pyproject.toml/x", "must be a folder"),
    ],
)
def test_a_bad_setting_is_one_line(argument, told, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    assert main([argument]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not printed.out
