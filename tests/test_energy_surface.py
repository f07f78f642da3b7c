"""The figures of energies in the plane, quick, and the quadrature that they are held against."""

import math

import pandas as pd
import pytest
import torch

from btgm_cli.cli import main
from btgm_cli.domains.densities import systems
from btgm_cli.domains.densities.figures.surface import _Drawn
from btgm_cli.domains.densities.quadrature import free_energy_along, on_grid

N = 4000


def harmonic(x):
    return 0.5 * x.square().sum(-1)


def test_quadrature_of_a_harmonic_well_at_two_temperatures():
    """E u = T of two dimensions, log Z = log 2πT."""
    for temperature in (0.5, 2.0):
        grid = on_grid(harmonic, [-12, -12], [12, 12], temperature, n=401)
        assert grid.log_z == pytest.approx(math.log(2 * math.pi * temperature), abs=1e-9)
        assert grid.mean_energy == pytest.approx(temperature, abs=1e-9)
        assert grid.share(grid.x[:, 0] > 1e-9) == pytest.approx(0.5, abs=0.05)


def test_the_profile_of_a_harmonic_well_along_a_slanted_line():
    """r = a·x − level of N(0, T I) is N(−level, |a|² T)."""
    a, level, temperature = [0.8, -1.0], 0.4, 2.0
    grid = on_grid(harmonic, [-12, -12], [12, 12], temperature, n=401)
    edges = torch.linspace(-3, 4, 29, dtype=torch.double)
    found = free_energy_along(grid, harmonic, a, level, edges, temperature)
    shares = torch.special.ndtr((edges + level) / math.sqrt(1.64 * temperature)).diff()
    assert torch.allclose(found, edges.diff().log() - shares.log(), atol=1e-4)


@pytest.mark.parametrize(
    ("system", "low", "high", "exact"),
    [
        (systems.double_well, [-3.0, -6.0], [3.0, 6.0], 11.020467),
        (systems.muller_brown, [-1.8, -0.8], [1.5, 2.3], 11.729591),
    ],
)
def test_quadrature_over_what_a_figure_shows(system, low, high, exact):
    assert on_grid(system, low, high).log_z == pytest.approx(exact, abs=1e-5)


def test_the_basin_of_mueller_and_brown():
    """y < 0.8 x + 0.75 holds 2.519 %: ΔF = 3.6558 kT."""
    grid = on_grid(systems.muller_brown, [-1.8, -0.8], [1.5, 2.3], n=1201)
    share = grid.share(grid.x[:, 1] < 0.8 * grid.x[:, 0] + 0.75)
    assert share == pytest.approx(0.02519, abs=2e-5)
    assert math.log((1 - share) / share) == pytest.approx(3.6558, abs=2e-3)


def test_weighted_means_are_right_where_plain_ones_are_not():
    """Draws of N(0, 1) weighted to N(0.5, 1)."""
    x = torch.randn(N, 2, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    found = _Drawn(x, x, x[:, 0], 0.5 * x[:, 0]).means(x[:, 0])
    assert abs(found["draws"]) < 4 * found["draws_se"]
    assert abs(found["weighted"] - 0.5) < 4 * found["weighted_se"]
    assert found["weighted_se"] < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", ["double_well", "muller_brown"])
def test_a_quick_figure(name, here):
    assert main(["figure", name, "quick=true", "threads=1", "out=made"]) == 0
    made = {path.name for path in (here / "made").iterdir()}
    tables = {"points.csv", "energies.csv", "contours.csv", "profile.csv", f"{name}.csv"}
    assert made >= tables | {f"{name}.md", f"{name}.png", f"{name}.pdf"}
    numbers = pd.read_csv(here / "made" / f"{name}.csv").set_index("quantity")
    exact = {"double_well": 11.020467, "muller_brown": 11.729591}[name]
    assert numbers.loc["log Z, nats", "exact"] == pytest.approx(exact, abs=1e-4)
