"""What the jobs of a sweep share: x of the same draws of p."""

from dataclasses import replace

import pandas as pd
import pytest
import torch

from btgm_cli import load_criterion
from btgm_cli.cli import main
from btgm_cli.cli.sweep import Sweep
from btgm_cli.cli.work import shared_draws
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.store.decoded import DECODED, DecodedDraws, model_hash
from btgm_cli.store.manifest import Manifest
from btgm_cli.store.sweeps import Planned
from btgm_cli.truth.references import Estimated

N = 3000
MANIFEST = Manifest(
    version="1",
    model="gaussian",
    criterion="linear",
    settings={
        **{"model": {"latent_dim": 2}, "criterion": {"k": 1}, "seed": 0},
        **{"device": "cpu", "threads": 1, "target": {"C_D": 1.0}},
        "tuning": {"f_samples": 1, "n_reference": N, "steps": 5},
    },
    overrides=[],
    checkpoints={"model.checkpoint": "abc", "criterion.classifier": "def"},
)


class Counting(Gaussian):
    """Counts what it decodes."""

    decoded = 0

    def decode(self, z):
        self.decoded += len(z)
        return super().decode(z)


def reference_of(model, criterion, shelf):
    f = LatentCriterion(model, load_criterion(criterion))
    return Estimated(f, N, 800, seed=0, decoded=shelf)


def test_a_second_criterion_decodes_no_draw_of_p_again(tmp_path):
    model = Counting(2)
    alone = reference_of(Counting(2), "quadratic", None)
    first = DecodedDraws(tmp_path, "model")
    reference_of(model, "linear", first)
    assert (model.decoded, first.saved) == (N, 0)
    second = DecodedDraws(tmp_path, "model")
    shared = reference_of(model, "quadratic", second)
    assert (model.decoded, second.saved) == (N, N)
    assert torch.equal(shared.prior.f, alone.prior.f)
    assert shared.f_evals == alone.f_evals == N  # f itself was evaluated
    files = len(list(tmp_path.iterdir()))
    shared.smc.at(1.0)
    assert model.decoded > N  # particles are this criterion's own
    assert len(list(tmp_path.iterdir())) == files
    third = DecodedDraws(tmp_path, "another")
    reference_of(model, "linear", third)
    assert third.saved == 0


def test_what_is_beyond_the_room_or_damaged_is_decoded_again(tmp_path):
    model = Counting(2)
    for folder, most in ((tmp_path / "none", 100), (tmp_path / "some", 20_000)):
        reference_of(model, "linear", DecodedDraws(folder, "model", most))
        held = sum(file.stat().st_size for file in folder.glob("*"))
        assert held <= most + 32 * len(list(folder.glob("*")))  # and a seal for each
    (first, *_) = sorted((tmp_path / "some").iterdir())
    first.write_bytes(first.read_bytes()[:-7])
    shelf = DecodedDraws(tmp_path / "some", "model", 20_000)
    before = model.decoded
    found = reference_of(model, "linear", shelf)
    assert 0 < shelf.saved < N
    assert model.decoded - before == N - shelf.saved
    assert torch.equal(found.prior.f, reference_of(model, "linear", None).prior.f)


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("criterion", {"k": 2}, True),
        ("target", {"C_D": 2.0}, True),
        ("model", {"latent_dim": 3}, False),
        ("seed", 1, False),
        ("threads", 2, False),
        ("tuning", {"f_samples": 1, "n_reference": N, "steps": 6}, True),
        ("tuning", {"f_samples": 2, "n_reference": N, "steps": 5}, False),
    ],
)
def test_jobs_share_x_where_model_and_draws_are_the_same(tmp_path, name, value, same):
    other = replace(MANIFEST, settings=MANIFEST.settings | {name: value})
    assert (model_hash(MANIFEST) == model_hash(other)) == same
    jobs = [Planned("0", MANIFEST), Planned("1", other)]
    assert (shared_draws(tmp_path, jobs, MANIFEST) is not None) == same


def test_another_checkpoint_is_another_model_and_another_classifier_is_not():
    model, judge = ({**MANIFEST.checkpoints, name: "new"} for name in MANIFEST.checkpoints)
    assert model_hash(replace(MANIFEST, checkpoints=judge)) == model_hash(MANIFEST)
    assert model_hash(replace(MANIFEST, checkpoints=model)) != model_hash(MANIFEST)


def test_a_sweep_leaves_nothing_of_what_was_shared(tmp_path):
    jobs = [Planned(str(k), MANIFEST) for k in range(2)]
    with Sweep(tmp_path, jobs):
        shelf = shared_draws(tmp_path, jobs, MANIFEST)
        shelf.keep("key", torch.zeros(3, 2))
        assert torch.equal(shelf.recall("key"), torch.zeros(3, 2))
        assert (tmp_path / DECODED).is_dir()
    assert not (tmp_path / DECODED).exists()


@pytest.mark.slow
def test_a_sweep_over_criteria_says_what_it_saved_and_changes_nothing(here, capsys):
    tiny = ["flow.depth=1", "flow.hidden=[8]", "tuning.first_steps=5", "tuning.n_eval=500"]
    tiny += ["tuning.n_reference=3000", "tuning.min_acceptance_rate=1", "target.betas=[0.003]"]
    asked = ["run", "model=gan_mnist", *tiny, "samples=0", "threads=1"]
    main([*asked, "criterion=white", "out=alone"])
    assert "decoded by another job" not in capsys.readouterr().out
    main([*asked, "-m", "criterion=black,white", "out=sweep"])
    told = capsys.readouterr().out
    assert told.count("3,000 draws of p were decoded by another job of the sweep") == 1
    assert sorted(path.name for path in (here / "sweep").iterdir() if path.is_dir()) == [
        "0_gan_mnist_black",
        "1_gan_mnist_white",
    ]
    one, other = (
        pd.read_csv(here / p / "pareto.csv") for p in ("alone", "sweep/1_gan_mnist_white")
    )
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), other.drop(columns="seconds"))
