"""The Ising model: closed forms by hand and by enumeration, the field's identity, its spins."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from btgm_cli.cli import main
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Effort, Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.ising.criteria import Ising
from btgm_cli.domains.ising.exact import (
    CRITICAL,
    all_spins,
    bonds,
    enumerated,
    kaufman,
    kaufman_log_z,
    mean_field,
)
from btgm_cli.domains.ising.field import IsingField
from btgm_cli.domains.ising.spins import SPINS, Spins, drawn
from btgm_cli.domains.ising.thermodynamics import States
from btgm_cli.store.tables import read_table
from btgm_cli.truth.evaluation import examine
from btgm_cli.truth.references import Estimated
from btgm_cli.truth.verdict import Thresholds, judge

COUPLINGS = [0.2, CRITICAL, 0.6]


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_two_by_two_spins_by_hand(coupling):
    """Each pair of neighbours is bound twice: 2 states of 8, 12 of 0 and 2 of −8 bonds."""
    up = math.exp(8 * coupling)
    found = enumerated(2, coupling)
    z = 2 * up + 12 + 2 / up
    assert found.log_z == pytest.approx(math.log(z), rel=1e-12)
    mean, square = 8 * (2 * up - 2 / up) / z, 64 * (2 * up + 2 / up) / z
    assert found.energy == pytest.approx(-mean / 4, rel=1e-12)
    assert found.heat_capacity == pytest.approx(coupling**2 * (square - mean**2) / 4, rel=1e-12)
    # |Σs|: 4 in the two states that are all alike, 2 in eight others.
    assert found.magnetization == pytest.approx((2 * up + 8 * 0.5) / z, rel=1e-12)


def test_an_outer_field_alone():
    """Without coupling worth the name spins are independent: Z = (2 cosh h)ⁿ."""
    found = enumerated(3, 1e-12, field=0.7)
    assert found.log_z == pytest.approx(9 * math.log(2 * math.cosh(0.7)), rel=1e-9)


@pytest.mark.parametrize(
    ("coupling", "log_z", "gap"),
    [(0.2, 11.771470, 0.681), (0.440687, 15.521915, 0.897), (0.6, 20.056533, 0.720)],
)
def test_four_by_four_and_the_gap_of_the_mean_field(coupling, log_z, gap):
    found = enumerated(4, coupling).log_z
    assert found == pytest.approx(log_z, abs=2e-5)
    assert found - mean_field(4, coupling) == pytest.approx(gap, abs=6e-4)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("coupling", COUPLINGS)
def test_kaufmans_formula_is_the_sum_over_all_states(size, coupling):
    by_sum, by_formula = enumerated(size, coupling), kaufman(size, coupling)
    assert by_formula.log_z == pytest.approx(by_sum.log_z, rel=1e-12)
    assert by_formula.energy == pytest.approx(by_sum.energy, rel=1e-10)
    assert by_formula.heat_capacity == pytest.approx(by_sum.heat_capacity, rel=1e-9)


def test_kaufmans_formula_of_a_large_torus():
    """0.9322 a spin at 16; Onsager's log √2 + 2G/π of the infinite lattice is the limit."""
    assert kaufman(16, CRITICAL).log_z / 256 == pytest.approx(0.9322, abs=5e-5)
    catalan = 0.915965594177219
    onsager = math.log(2) / 2 + 2 * catalan / math.pi
    large = kaufman_log_z(64, torch.tensor(CRITICAL, dtype=torch.double)).item() / 64**2
    assert large == pytest.approx(onsager, abs=2e-4)
    assert large > onsager


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_the_covariance_is_that_of_the_torus_in_every_direction(size):
    """K A + c I to rounding: no site and no direction is another's better."""
    model, n = IsingField(size, coupling=0.5), size**2
    eye = torch.eye(n, dtype=torch.double)
    root = model.decode(eye).T
    spins = eye.view(n, size, size)
    near = sum(spins.roll(shift, axis) for shift in (1, -1) for axis in (1, 2)).view(n, n)
    wanted = 0.5 * near + model.diagonal * eye
    torch.testing.assert_close(root @ root.T, wanted, atol=1e-12, rtol=0)
    assert torch.linalg.eigvalsh(wanted)[0].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("field", [0.0, 0.3])
def test_the_tilt_at_one_is_the_ising_model(field):
    """By Gauss–Hermite quadrature over the three waves of 2 × 2 that matter."""
    model, n = IsingField(2, coupling=0.4, field=field), 60
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(n))
    z = torch.cartesian_prod(nodes, nodes, nodes, torch.zeros(1, dtype=torch.double))
    log_w = torch.cartesian_prod(*[weights.log() - math.log(math.sqrt(2 * math.pi))] * 3).sum(-1)
    log_z = torch.logsumexp(log_w + Ising()(model.decode(z)), 0).item()
    exact = enumerated(2, 0.4, field).log_z
    assert log_z - model.log_z_offset == pytest.approx(exact, rel=1e-9)


def exact_draws(model: IsingField, n: int, seed: int) -> torch.Tensor:
    """z of the tilt at 1: given spins s of the Ising model, N(Rᵀs, I), R the root that decodes."""
    generator = derived_generator(seed)
    spins = all_spins(model.size)
    log_w = model.coupling * bonds(spins, model.size) + model.field * spins.sum(-1)
    chosen = torch.multinomial(torch.softmax(log_w, 0), n, True, generator=generator)
    noise = torch.randn(n, model.latent_dim, generator=generator, dtype=torch.double)
    root = model.decode(torch.eye(model.latent_dim, dtype=torch.double)) - model.field
    return spins[chosen] @ root.T + noise


@pytest.mark.parametrize("field", [0.0, 0.1])
def test_spins_given_the_field_are_those_of_the_model(field):
    model, n = IsingField(4, coupling=0.3, field=field), 20_000
    x = model.decode(exact_draws(model, n, seed=1))
    spins = drawn(x, derived_generator(2))
    exact = enumerated(4, 0.3, field)
    assert set(spins.unique().tolist()) == {-1.0, 1.0}
    for values, wanted in (
        (-bonds(spins, 4) / 16, exact.energy),
        (spins.mean(-1).abs(), exact.magnetization),
    ):
        error = values.std().item() / n**0.5
        assert abs(values.mean().item() - wanted) < 4 * error


class Blocks:
    """Exact draws of a field: a `Corrector`."""

    def __init__(self, model: IsingField) -> None:
        self.model = model

    def weighted(self):
        for seed in range(100):
            x = self.model.decode(exact_draws(self.model, 1000, seed))
            yield SimpleNamespace(x=x, log_weight=torch.zeros(1000))


def test_what_spins_tell_is_within_its_errors():
    model = IsingField(3, coupling=0.45)
    states = States.of(model, Blocks(model), 20_000, derived_generator(0))
    found, exact = states.measured(weighted=True), enumerated(3, 0.45)
    for name in ("energy", "heat_capacity", "magnetization"):
        error = getattr(found, f"{name}_se")
        assert abs(getattr(found, name) - getattr(exact, name)) < 4 * error
        assert 0 < error < 0.02
    assert abs(found.up - 0.5) < 4 * found.up_se
    assert found == states.measured(weighted=False)


def test_weights_make_states_of_one_coupling_those_of_another():
    model, other = IsingField(3, coupling=0.3), IsingField(3, coupling=0.35)
    states = States.of(other, Blocks(model), 20_000, derived_generator(0))
    states = replace(states, log_weights=0.05 * states.bond)
    found, exact = states.measured(weighted=True), enumerated(3, 0.35)
    assert abs(found.energy - exact.energy) < 4 * found.energy_se
    assert abs(states.measured(weighted=False).energy - exact.energy) > 8 * found.energy_se


class OneSign:
    """Exactly the tilt at 1, or exactly its half of positive magnetization: a `TunedModel`."""

    acceptance = None

    def __init__(self, model: IsingField, log_z: float, collapsed: bool) -> None:
        self.model, self.log_z, self.collapsed = model, log_z, collapsed

    def draw(self, n, generator):
        seed = int(torch.randint(2**40, (), generator=generator))
        z = exact_draws(self.model, n, seed).float()
        if self.collapsed:  # z and −z are as likely
            z = torch.where(self._is_up(z)[:, None], z, -z)
        return z, self.log_prob(z)

    def log_prob(self, z):
        log_q = self.model.prior_log_prob(z) + Ising()(self.model.decode(z)) - self.log_z
        if not self.collapsed:
            return log_q
        return torch.where(self._is_up(z), log_q + math.log(2), -math.inf)

    def _is_up(self, z):
        return Ising().classes(self.model.decode(z)) == 1


@pytest.mark.parametrize(
    ("collapsed", "status"), [(False, Status.OK), (True, Status.MODE_DROPPED)]
)
def test_a_model_that_keeps_to_one_sign_is_told_so(collapsed, status, brief_lessons):
    """Below the critical temperature; all else, E f and its weights, is as it should be."""
    model = IsingField(2, coupling=0.6)
    exact = enumerated(2, 0.6).log_z + model.log_z_offset
    f = LatentCriterion(model, Ising())
    reference = Estimated(f, n=2000, n_particles=1000, seed=0)
    tuned = OneSign(model, exact, collapsed)
    figures = examine(tuned, f, 1.0, reference, 2000, lambda name: derived_generator(0, name))
    verdict = judge(figures, Effort(1, 1, 0, 1.0, True), Thresholds())
    assert abs(figures.reference.log_z - exact) < 4 * figures.reference.log_z_se + 1e-3
    assert verdict.status is status
    if collapsed:
        assert verdict.reason.startswith("class 0 has 0.0% of the draws")
        assert figures.kl_gap == pytest.approx(math.log(2), abs=4 * figures.kl_gap_se)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"size": 1}, "model.size=1: must be a whole number, 2 or more"),
        ({"size": 4.0}, "model.size=4.0: must be a whole number"),
        ({"size": 10**6}, "model.size=1000000: "),
        ({"coupling": 0.0}, "model.coupling=0.0: must be positive"),
        ({"coupling": math.nan}, "model.coupling=nan: must be positive and finite"),
        ({"field": math.inf}, "model.field=inf: must be finite"),
    ],
)
def test_what_is_no_torus_is_refused(settings, told):
    with pytest.raises(SettingError) as error:
        IsingField(**settings)
    assert str(error.value).startswith(told)


class Source:
    """Draws of a field, as a run hands them on."""

    def __init__(self, beta=1.0, doubt=""):
        self.beta, self.doubt = beta, doubt

    def tilted(self, n):
        return IsingField(3, coupling=0.3).decode(
            torch.randn(n, 9, generator=derived_generator(0))
        )


def test_the_export_leaves_spins_and_a_picture_of_them(tmp_path):
    spins = Spins(n=20)
    spins.check(IsingField(3))
    assert spins.draw(tmp_path) == []
    assert spins.write(tmp_path, Source()) == ""
    found = np.load(tmp_path / SPINS)
    assert found.shape == (20, 3, 3)
    assert set(np.unique(found)) == {-1, 1}
    (picture,) = spins.draw(tmp_path)
    assert picture.stat().st_size > 1000


def test_the_export_tells_why_it_leaves_none(tmp_path):
    assert "β is 0.5" in Spins(n=2).write(tmp_path, Source(beta=0.5))
    assert Spins(n=2).write(tmp_path, Source(doubt="lost")) == f"{SPINS} not written: lost"
    assert Spins().write(tmp_path, Source(doubt="lost")) == ""
    assert not list(tmp_path.iterdir())
    with pytest.raises(SettingError, match=r"spins\.n=2: needs model=ising_field"):
        Spins(n=2).check(Gaussian())
    with pytest.raises(SettingError, match=r"spins\.n=-1: must be 0 or more"):
        Spins(n=-1)


def test_the_command_refuses_in_a_line(here, capsys):
    assert main(["run", "experiment=ising", "model.coupling=-1"]) == 2
    assert "model.coupling=-1: must be positive" in capsys.readouterr().err
    assert not list(here.iterdir())


@pytest.mark.slow
def test_the_figure_is_made_of_its_runs(here, capsys):
    assert main(["figure", "ising", "quick=true", "threads=1", "out=found"]) == 0
    table = read_table(here / "found" / "ising.csv")
    assert table["coupling"].tolist() == [0.2, 0.440687, 0.6]
    assert table["log_z_exact"].tolist() == pytest.approx([11.771470, 15.521915, 20.056533])
    assert (here / "found" / "ising.png").stat().st_size > 10_000
    page = capsys.readouterr().out
    assert "| 0.2 | " in page
    assert "heat capacity, k_B" in page
