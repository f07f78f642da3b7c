"""Design points with closed forms: a plane, both sides of a slab, and what is no region at all."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from btgm_cli.report.design import design_figure
from btgm_cli.tilt.exceedance import effective
from btgm_cli.truth.design_points import design_points

N = 4000


def log_p(z):
    return -0.5 * z.square().sum(-1)


def found(f, dim, t, scale=2.0):
    """From draws that are wider than p, weighted to it."""
    z = scale * torch.randn(N, dim, generator=torch.Generator().manual_seed(0))
    log_weights = log_p(z) + z.square().sum(-1) / (2 * scale**2)
    above = f(z) > t
    y = log_weights[above].exp()
    return design_points(f, log_p, z[above], y, t), y


def test_of_a_plane_it_is_the_foot_of_the_normal():
    a = torch.arange(1.0, 9.0)
    a = a / a.norm()
    (point,), _ = found(lambda z: z @ a, dim=8, t=3.0)
    assert (point.z - 3 * a).norm() < 0.003
    assert (point.f, point.distance) == pytest.approx((3, 3), abs=0.003)
    assert point.share == pytest.approx(1)
    assert point.log_p == pytest.approx(-4.5, abs=0.01)


def test_both_sides_of_a_slab_have_half_each():
    points, y = found(lambda z: z[:, 0].abs(), dim=6, t=3.0)
    ends = sorted(point.z[0].item() for point in points)
    assert ends == pytest.approx([-3, 3], abs=0.003)
    assert all(point.z[1:].norm() < 0.003 for point in points)
    assert sum(point.share for point in points) == pytest.approx(1)
    assert points[0].share - 0.5 < 4 * 0.5 / effective(y) ** 0.5


def test_a_region_with_a_little_of_p_is_found_as_well():
    def f(z):
        return torch.maximum(z[:, 0] - 2.5, -z[:, 0] - 3.5)

    points, y = found(f, dim=3, t=0.0)
    assert [point.z[0].item() for point in points] == pytest.approx([2.5, -3.5], abs=0.004)
    near, far = norm.sf([2.5, 3.5])
    share = far / (near + far)
    assert abs(points[1].share - share) < 4 * (share * (1 - share) / effective(y)) ** 0.5


def test_a_bent_region_is_one():
    """Two points of a half ring are linked by others between them."""
    points, _ = found(lambda z: torch.where(z[:, 0] > -1, z.norm(dim=-1), z[:, 0]), dim=2, t=2.5)
    assert len(points) == 1
    assert points[0].distance == pytest.approx(2.5, abs=0.003)


def test_without_a_slope_the_likeliest_draw_is_brought_to_the_border():
    (point,), _ = found(lambda z: (z[:, 0] > 2).double(), dim=2, t=0.5)
    assert point.z[0] == pytest.approx(2, abs=0.003)


def test_where_noise_alone_is_above_there_is_none():
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert design_points(lambda z: z[:, 0], log_p, z, torch.ones(50), 9.0) == []


@pytest.mark.parametrize("shape", [(2, 1, 1, 8, 8), (2, 5, 32)])
def test_images_and_curves_have_a_panel_each(shape):
    table = pd.DataFrame({"share": [0.75, 0.25], "distance": [3.0, 3.5]})
    x = np.random.default_rng(0).random(shape, np.float32)
    titles = [axes.get_title() for axes in design_figure(table, x, "").axes]
    assert titles == ["|z| = 3.00, 75% of P", "|z| = 3.50, 25% of P"]


def test_four_branches_have_a_point_each():
    """The series system of the reliability literature: branches at distances of 3 and of 3.5."""

    def f(z):
        one, other = z[:, 0] + z[:, 1], z[:, 0] - z[:, 1]
        bent = one.abs() / 2**0.5 - 3 - 0.1 * other.square()
        return torch.maximum(bent, other.abs() - 7 / 2**0.5)

    points, _ = found(f, dim=2, t=0.0)
    assert sorted(point.distance for point in points) == pytest.approx([3, 3, 3.5, 3.5], abs=0.004)
