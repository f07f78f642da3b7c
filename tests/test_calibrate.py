"""Coverage of truths by posteriors, right ones and wrong ones, and the command that counts."""

import json

import numpy as np
import pytest
from scipy.stats import binom

from btgm_cli.cli import main
from btgm_cli.store.tables import read_table
from btgm_cli.truth.coverage import counts, covered, status_of

UNIFORM = (np.arange(200) + 0.5) / 200

OWN = '''
import torch
from btgm_cli import StandardNormal
from btgm_cli.core.contracts import Covered
from btgm_cli.core.seeds import derived_generator


class Exact:
    """Posteriors of a normal mean that are `narrow` times too narrow."""

    def __init__(self, narrow=1.0):
        self.narrow = narrow

    def __call__(self, x):
        return x[:, 0]

    def trial(self, model, number, seed):
        noise = torch.randn(2, generator=derived_generator(seed, number)).double()
        truth, mean, sd = noise[0], (noise[0] + noise[1]) / 2, 0.5**0.5 / self.narrow
        rank = torch.special.ndtr((truth - mean) / sd)
        return [Covered("mean", truth.item(), mean.item(), sd, rank.item(), "")]
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_exact.py").write_text(OWN)
    (tmp_path / "criterion").mkdir()
    yaml = "_target_: own_exact.Exact\nnarrow: 1.0\n"
    (tmp_path / "criterion" / "exact.yaml").write_text(yaml)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_bounds_of_a_count_are_the_binomial_ones():
    for n, share in [(10, 0.9), (100, 0.9), (200, 0.1)]:
        assert counts(n, share) == binom.interval(0.99, n, share)


@pytest.mark.parametrize(
    ("ranks", "status"),
    [
        (UNIFORM, "ok"),
        (np.clip(0.5 + 2 * (UNIFORM - 0.5), 0, 1), "overconfident"),
        (0.5 + 0.5 * (UNIFORM - 0.5), "underconfident"),
        (np.where(abs(UNIFORM - 0.5) < 0.45, UNIFORM / 2 + 0.025, UNIFORM), "miscalibrated"),
    ],
)
def test_wrong_posteriors_are_told_from_right_ones(ranks, status):
    found = covered("a", ranks.tolist(), [""] * len(ranks))
    assert status_of([found])[0] == status


def test_the_command_counts_and_goes_on(own, capsys):
    arguments = ["calibrate", "model=gaussian", "criterion=exact", "out=there"]
    assert main([*arguments, "n=20"]) == 0
    first = read_table(own / "there" / "calibration.csv")
    assert main([*arguments, "n=60"]) == 0
    table = read_table(own / "there" / "calibration.csv")
    assert table[:20].equals(first)
    assert len(table) == 60
    about = json.loads((own / "there" / "calibration.json").read_text())
    assert about["status"] == "ok"
    assert about["coverage"][0]["n"] == 60
    assert (own / "there" / "calibration.png").is_file()
    assert "90 % intervals cover the truth in" in capsys.readouterr().out
    assert main([*arguments, "n=60", "criterion.narrow=3"]) == 2
    assert "holds a calibration with other settings" in capsys.readouterr().err


def test_posteriors_that_are_too_narrow_are_told(own, capsys):
    arguments = ["model=gaussian", "criterion=exact", "criterion.narrow=3", "out=narrow"]
    assert main(["calibrate", *arguments, "n=60"]) == 3
    assert "overconfident: mean is covered in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model=gaussian", "criterion=linear"], "has no posteriors to calibrate"),
        (["model=gaussian", "criterion=linear", "n=3"], "n=3: must be 10 or more"),
        (["model=poisson", "criterion.data=nowhere.npy"], "criterion.data='nowhere.npy'"),
    ],
)
def test_what_cannot_be_calibrated(own, capsys, arguments, words):
    assert main(["calibrate", *arguments]) == 2
    assert words in capsys.readouterr().err
