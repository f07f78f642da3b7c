"""Others' ways of refining, where their answer is known: a linear f on a Gaussian."""

import math

import pandas as pd
import pytest
import torch
from experiments.bench.judge import Judge
from experiments.bench.refine import PLANS, Plan
from experiments.bench.refine_picture import refinement_figure
from experiments.bench.refiners import langevin, rejected
from experiments.bench.rounds import criterion_of

from btgm_cli import load_model
from btgm_cli.cli.config import compose_config
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.domains.digits.mnist import Mnist

SLOPE = torch.tensor([0.6, -0.8])
F = LatentCriterion(Gaussian(2), lambda x: x @ SLOPE)


def test_rejection_at_a_small_share_draws_the_tilt():
    """F → f − M − γ far below the largest f: kept with e^f, the tilt N(slope, I)."""
    z = rejected(F, 1000, 400_000, derived_generator(0))
    assert abs(len(z) - 1000) <= 4 * math.sqrt(1000)
    error = z.std(0) / math.sqrt(len(z))
    assert ((z.mean(0) - SLOPE).abs() <= 4 * error).all()


def test_rejection_that_may_keep_all_draws_p():
    z = rejected(F, 20_000, 20_000, derived_generator(0))
    assert len(z) == pytest.approx(20_000, rel=0.01)


@pytest.mark.parametrize("steps", [0, 1, 30])
def test_langevin_is_the_autoregression_that_it_is_here(steps):
    """z ← z − (step/2)(z − slope) + √step ξ has the mean (1 − (1 − step/2)^n) slope."""
    n, step = 4000, 0.1
    z = langevin(F, n, 3 * n * steps, step, derived_generator(1))
    mean = (1 - (1 - step / 2) ** steps) * SLOPE
    assert ((z.mean(0) - mean).abs() <= 4 * z.std(0) / math.sqrt(n)).all()


def test_the_judge_finds_nothing_wrong_with_the_test_images_but_what_the_classifier_gets_wrong():
    model = load_model("gan_mnist")
    images = model.decode(model.sample_prior(200, derived_generator(2)))
    judge = Judge(Mnist(images, torch.zeros(200), images, torch.arange(200) % 10))
    found = judge.of(images)
    assert found["frechet"] == pytest.approx(0, abs=1e-3)
    assert found["n"] == 200
    least, most = found["least_share"], found["most_share"]
    assert least <= 0.1 <= most
    assert found["classes_off"] >= max(most - 0.1, 0.1 - least)
    # As many more of one class as others have less.
    assert judge.of(images.flip(3))["frechet"] > 1


def test_the_picture_shows_rounds_at_the_beta_where_each_ends():
    known = {
        (1, "p", 0.0): 80.0,
        (1, "tuned", 0.5): 50.0,
        (1, "tuned", 1.0): 60.0,
        (2, "tuned", 0.5): 35.0,
        (2, "tuned", 1.0): 30.0,
        (1, "drs", 1.0): 70.0,
        (1, "ddls 0.1", 1.0): 65.0,
        (1, "ddls 0.3", 1.0): 40.0,
    }
    table = pd.DataFrame(
        [
            {"model": "m", "kind": "rebuilt", "round": k, "method": way, "beta": beta}
            | {"frechet": value, "classes_off": value / 1000}
            for (k, way, beta), value in known.items()
        ]
    )
    panels = refinement_figure(table, "m", {"rebuilt": 0.5}).axes
    along, rounds = (
        {line.get_marker(): line.get_xydata().tolist() for line in axes.lines}
        for axes in panels[:2]
    )
    assert along["o"] == [[0, 80], [0.5, 50], [1, 60]]
    assert (along["x"], along["+"]) == ([[1, 70]], [[1, 40]])
    assert rounds["o"] == [[0, 80], [1, 50], [2, 30]]


def test_a_round_is_a_run_of_the_sum_of_all_so_far():
    plan = Plan("vae_mnist", "plain", (0, 0.5), (0.5, 0.25, 1))
    one = compose_config("run", criterion_of([plan.discriminator], plan.rounds))
    assert one.criterion.discriminator == plan.discriminator
    names = [plan.discriminator, "second.safetensors", "third.safetensors"]
    cfg = compose_config("run", criterion_of(names, plan.rounds)).criterion
    assert [term.discriminator for term in cfg.terms.values()] == names
    assert list(cfg.weights.values()) == list(plan.rounds)
    assert cfg.weights.keys() == cfg.terms.keys()
    assert all(plan.rounds[0] in plan.betas for plan in PLANS)
