"""A further round with the classes held: what it asks for in closed form, and what it makes."""

import math

import pytest
import torch
from experiments.bench.rounds import criterion_of
from experiments.classes_held import draws, rounds
from experiments.classes_held.rounds import Asked, Round, asked_for, main
from torch.special import log_ndtr, ndtri

from btgm_cli import load_model, load_run
from btgm_cli.cli import run as runs
from btgm_cli.cli.config import compose_config
from btgm_cli.cli.recipes import QUICK
from btgm_cli.core.errors import BtgmError
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.views import View
from btgm_cli.domains.digits.mnist import Mnist
from btgm_cli.store.tables import read_table

N = 20_000
X = ndtri((torch.arange(N).double() + 0.5) / N)
"""Of N(0, 1), by its quantiles."""
EVERY_OTHER = (torch.arange(N) % 2)[:, None]
HALF = [View.parsed("E(side) = 0.5")]


def side_mean(m, sign):
    """Of N(m, 1) beyond 0."""
    m = torch.tensor(m).double()
    density = -0.5 * m * m - 0.5 * math.log(2 * math.pi)
    return (m + sign * torch.exp(density - log_ndtr(sign * m))).item()


def test_the_mean_is_that_of_the_last_tilt_by_the_new_logit_with_the_views_held():
    """N(0.3, 1) by weights, tilted by 0.7 x, with half of it on each side of 0."""
    last, new = 0.3, 0.7
    asked = asked_for(last * X, last * X, new * X, (X > 0)[:, None], HALF)
    assert asked.weight == 1
    expected = 0.5 * (side_mean(last + new, 1) + side_mean(last + new, -1))
    assert asked.mean == pytest.approx((last + new) * expected, rel=2e-3)
    free = (last + new) * (last + new)
    assert abs(asked.mean - free) > 0.1


def test_the_weight_is_the_largest_at_which_enough_draws_are_effective():
    """exp(w a x) leaves a share of exp(−w²a²) of N(0, 1): 0.6 % at ¾ of 3, 11 % at a half."""
    asked = asked_for(0 * X, 0 * X, 3 * X, EVERY_OTHER, HALF)
    assert asked.weight == 0.5
    assert 0.02 < asked.effective < 0.2
    assert asked.mean == pytest.approx(2.25, rel=0.01)


def test_a_logit_too_steep_for_any_weight_is_refused():
    x = X[:: N // 500]
    with pytest.raises(BtgmError, match="cannot be followed"):
        asked_for(0 * x, 0 * x, 40 * x, EVERY_OTHER[:500], HALF)


def test_a_sum_of_discriminators_can_be_a_term():
    asked = criterion_of(["a", "b", "c"], [0.5, 1, 0.25], "criterion.terms.real")
    cfg = compose_config("run", ["criterion=real_and_classes", *asked]).criterion
    assert [term.discriminator for term in cfg.terms.real.terms.values()] == ["a", "b", "c"]
    assert list(cfg.terms.real.weights.values()) == [0.5, 1, 0.25]
    assert cfg.terms.class9.label == 9


def test_a_mistake_is_told_before_any_work(tmp_path, capsys):
    assert main([str(tmp_path / "none"), str(tmp_path / "new"), "tuning.stepz=3"]) == 2
    assert "tuning.stepz" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err.startswith("rounds: ")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def small(monkeypatch):
    """A few images and draws."""
    model = load_model("vae_mnist")
    images = model.decode(model.sample_prior(300, derived_generator(0))).detach()
    mnist = Mnist(images, torch.arange(300) % 10, images, torch.arange(300) % 10)
    for module in (rounds, draws):
        monkeypatch.setattr(module, "load_mnist", lambda: mnist)
    monkeypatch.setattr(rounds, "SHOWN", 400)
    monkeypatch.setattr(rounds, "STEPS", 3)
    monkeypatch.setattr(draws, "N", 300)


@pytest.mark.slow
def test_a_round_is_made_once_and_the_next_goes_on_from_it(small, tmp_path, monkeypatch, capsys):
    quick = [*QUICK, "tuning.n_learn=1000", "tuning.max_updates=2"]
    views = 'target.views=["E(real) = -2.2","E(class0) = 0.1"]'
    first, folder = tmp_path / "first", tmp_path / "second"
    asked = ["model=vae_mnist", "criterion=real_and_classes", views, *quick, "threads=1"]
    rebuilt = "criterion.terms.real.discriminator=discriminator_vae_mnist_rebuilt"
    assert runs.main([*asked, rebuilt, f"out={first}"]) in (0, 3)
    assert main([str(first), str(folder), *quick]) == 0
    table = read_table(folder / "rounds.csv")
    assert table["way"].tolist() == ["p", "tuned", "corrected"]
    assert set(table["round"]) == {2}
    second, multiplier = load_run(folder / "run"), Round(load_run(first), folder).multiplier
    weights = second.config["criterion"]["terms"]["real"]["weights"]
    assert weights == {"first": multiplier, "second": table["weight"].iloc[0]}
    assert second.config["target"]["views"][1:] == ["E(class0)=0.1"]
    assert second.config["target"]["views"][0] == f"E(real)={table['asked'].iloc[0]:.6g}"

    monkeypatch.setattr(Round, "_train", None)
    assert main([str(first), str(folder)]) == 0
    assert read_table(folder / "rounds.csv").equals(table)

    assert main([str(second.path), str(folder)]) == 2
    assert "holds another run's round" in capsys.readouterr().err

    further = Round(second, tmp_path / "third")
    cfg = compose_config("run", further.settings(Asked(0.5, 1.0, 0.1))).criterion.terms.real
    pushed = further.multiplier
    expected = [pushed * multiplier, pushed * weights["second"], 0.5]
    assert list(cfg.weights.values()) == pytest.approx(expected)
    assert cfg.terms.third.discriminator == str(tmp_path / "third" / "discriminator.safetensors")
