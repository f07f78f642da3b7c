"""Shards of one draw: disjoint in randomness, and together what the whole draw is."""

import json
import math

import numpy as np
import pytest

from btgm_cli.cli import draw_files, engines, main
from btgm_cli.cli.engines import Engine
from tests.test_engines import ENGINES

N, COUNT = 2400, 4
EVENLY = 600  # draws of a part, so that the parts of a shard are those of the whole draw


@pytest.fixture
def run(short_run):
    return short_run


def sample(run, out, *settings):
    return main(["sample", str(run), f"n={N}", "threads=1", f"out={out}", *settings])


def drawn(folder):
    """The draws of each file."""
    found = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            found.append(dict(arrays))
    return found


@pytest.mark.parametrize(
    ("each", "correct"),
    [(EVENLY, "rejection"), pytest.param(10_000, "resample", marks=pytest.mark.slow)],
)
def test_the_union_is_the_whole_draw(run, tmp_path, monkeypatch, each, correct):
    """To the bit where the whole draw has the same parts, else in distribution."""
    monkeypatch.setattr(draw_files, "MOST_PER_PART", each)
    code = sample(run, tmp_path / "whole" / "d.npz", f"correct={correct}")
    assert sample(run, tmp_path / "d.npz", f"correct={correct}", "shard=range(4)", "-m") == code
    (whole,), shards = drawn(tmp_path / "whole"), drawn(tmp_path)
    assert len(shards) == COUNT
    union = {name: np.concatenate([shard[name] for shard in shards]) for name in whole}
    if each == EVENLY:
        assert all((union[name] == whole[name]).all() for name in whole)
    else:
        for name in ("z", "f"):
            first, other = (draws[name].reshape(N, -1) for draws in (union, whole))
            error = np.sqrt((first.var(0) + other.var(0)) / (N / 3))  # some are repeated
            assert (abs(first.mean(0) - other.mean(0)) < 4 * error).all()
    rows = [{draw.tobytes() for draw in shard["z"]} for shard in shards]
    assert sum(map(len, rows)) == len(set.union(*rows))  # no draw is in two shards


def test_one_shard_is_drawn_alone_and_says_which_it_is(run, tmp_path, capsys):
    assert sample(run, tmp_path / "d.npz", "shard=1/4") == 0
    about = json.loads((tmp_path / "d.00001-of-00004.json").read_text())
    assert (about["shard"], about["n"], about["n_of_all"]) == ("1/4", 600, 2400)
    assert about["doubt"] == ""
    capsys.readouterr()
    assert sample(run, tmp_path / "d.npz", "shard=range(4)", "-m") == 0
    told = capsys.readouterr().out
    assert "shard 0 of 4" in told
    assert "shard 1 of 4" not in told
    assert "4 of 4 shards are drawn" in told
    assert sample(run, tmp_path / "d.npz", "shard=range(4)", "-m") == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["shard=4/4", "shard=1", "shard=range(4)", "shard=a -m", "-m"])
def test_what_is_no_shard_is_refused_in_one_line(run, tmp_path, capsys, given):
    assert sample(run, tmp_path / "d.npz", *given.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must be range(N) with -m, for all of N shards, or one as K/N" in line
    assert not list(tmp_path.iterdir())


def test_a_shard_that_fails_takes_no_other_down_and_is_drawn_again(run, tmp_path, capsys):
    in_the_way = tmp_path / "d.00002-of-00004.npz"
    in_the_way.write_text("mine")
    assert sample(run, tmp_path / "d.npz", "shard=range(4)", "-m") == 2
    told = capsys.readouterr()
    assert "3 of 4 shards are drawn" in told.out
    (line,) = [line for line in told.err.splitlines() if "shard 2" in line]
    assert "exists already" in line
    in_the_way.unlink()
    assert sample(run, tmp_path / "d.npz", "shard=range(4)", "-m") == 0
    assert len(drawn(tmp_path)) == COUNT


@pytest.mark.slow
def test_a_worker_that_dies_costs_a_shard_no_more_than_a_second_try(run, tmp_path, monkeypatch):
    monkeypatch.setattr(engines, "_require_installed", lambda *given: None)
    asked = []

    def launch(engine, jobs, numbers):
        asked.append(list(numbers))
        for number in numbers:
            if number == 1 and len(asked) == 1:
                (tmp_path / "d.00001-of-00004.npz.parts").mkdir()
                return "a worker died"
            jobs.work.draw(number)
        return None

    monkeypatch.setattr(Engine, "_launch", launch)
    launcher = "hydra/launcher=btgm_joblib"
    assert sample(run, tmp_path / "d.npz", "shard=range(4)", launcher, "-m") == 0
    assert asked == [[0, 1, 2, 3], [1, 2, 3]]
    assert len(drawn(tmp_path)) == COUNT


@pytest.mark.slow
def test_processes_draw_the_same_shards(run, tmp_path):
    pytest.importorskip(ENGINES["btgm_joblib"])
    for name, launcher in (("here", ()), ("there", ("hydra/launcher=btgm_joblib",))):
        assert sample(run, tmp_path / name / "d.npz", "shard=range(4)", "-m", *launcher) == 0
    for one, other in zip(drawn(tmp_path / "here"), drawn(tmp_path / "there"), strict=True):
        assert all((one[name] == other[name]).all() for name in one)


def test_the_mean_of_all_shards_has_the_error_of_the_whole_draw(run, tmp_path):
    """The exact tilt of a linear criterion at β = 1 is N(1, 1) along it."""
    sample(run, tmp_path / "d.npz", "shard=range(4)", "-m", "correct=rejection")
    f = np.concatenate([shard["f"] for shard in drawn(tmp_path)])
    assert abs(f.mean() - 1) < 4 / math.sqrt(N)
