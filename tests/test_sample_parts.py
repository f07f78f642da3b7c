"""Many draws come in parts: a killed call goes on, and the file is the same to the bit."""

import json
import zipfile

import numpy as np
import pytest

from btgm_cli.cli import draw_files, draw_parts, main
from btgm_cli.cli.signals import Stopped
from tests.marks import slow
from tests.test_kills import KilledError, Killer

CORRECTIONS = ["none", "resample", "rejection", "mcmc"]


@pytest.fixture
def run(short_run):
    return short_run


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(draw_files, "MOST_PER_PART", 600)


def left_by(folder):
    """Every file but the name of the run, and the time in it."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def sample(run, out, *settings):
    return main(["sample", str(run), "n=2000", f"out={out}", *settings])


@pytest.mark.parametrize(
    ("correct", "suffix", "moments"),
    [
        ("rejection", ".npz", (1, 4, 8)),
        *(
            slow(correct, suffix, range(1, 12))
            for correct in CORRECTIONS
            for suffix in (".npz", ".parquet")
        ),
    ],
)
def test_a_call_killed_at_any_renaming_goes_on_to_the_same_files(
    run, tmp_path, monkeypatch, correct, suffix, moments
):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    settings = [f"correct={correct}"]
    code = sample(run, tmp_path / "whole" / f"d{suffix}", *settings)
    whole, kills = left_by(tmp_path / "whole"), 0
    assert sorted(whole) == sorted([f"d{suffix}", "d.png", "d.json"])
    for at in moments:
        out = tmp_path / f"killed-{at}" / f"d{suffix}"
        with monkeypatch.context() as patch:
            Killer(patch, at, behind=bool(at % 2))
            try:
                sample(run, out, *settings)
            except KilledError:
                kills += 1
        if not (out.parent / "d.json").exists():
            assert sample(run, out, *settings) == code
        else:  # only the parts were left to remove
            assert sample(run, out, *settings) == 2
        assert left_by(out.parent) == whole
    assert kills >= min(8, len(moments))
    print(f"{correct} {suffix}: {kills} kills, all equal to the bit")


def test_the_parts_of_a_killed_call_are_not_drawn_again(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "d.npz"
    with monkeypatch.context() as patch:
        Killer(patch, 4, behind=True)
        with pytest.raises(KilledError):
            sample(run, out)
    drawn = []
    write = draw_parts.DrawParts.write
    monkeypatch.setattr(
        draw_parts.DrawParts, "write", lambda *given: (drawn.append(given[1]), write(*given))
    )
    parts = sorted(path.name for path in (tmp_path / "d.npz.parts").glob("0*.npz"))
    assert parts == ["00000.npz", "00001.npz"]
    damaged = tmp_path / "d.npz.parts" / "00001.npz"
    damaged.write_bytes(damaged.read_bytes()[:-500])
    capsys.readouterr()
    sample(run, out)
    assert drawn == [1, 2, 3]
    assert "going on: 600 of 2,000 draws are there" in capsys.readouterr().out
    assert not (tmp_path / "d.npz.parts").exists()


@pytest.mark.parametrize("setting", ["seed=1", "n=2001", "correct=mcmc", "beta=0"])
def test_parts_of_other_draws_are_refused(run, tmp_path, monkeypatch, capsys, setting):
    out = tmp_path / "d.npz"
    with monkeypatch.context() as patch:
        Killer(patch, 4, behind=True)
        with pytest.raises(KilledError):
            sample(run, out)
    before = left_by(tmp_path)
    capsys.readouterr()
    assert sample(run, out, setting) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "d.npz.parts': has parts of other draws (" in line
    assert f"{setting.partition('=')[0]}=" in line
    assert left_by(tmp_path).keys() - before.keys() <= {".lock"}


@pytest.mark.parametrize("name", ["d.npz", "d.json", "d.png"])
def test_nothing_of_the_users_is_written_over(run, tmp_path, capsys, name):
    (tmp_path / name).write_text("mine")
    assert sample(run, tmp_path / "d.npz") == 2
    assert f"{name}': exists already; choose another" in capsys.readouterr().err
    assert left_by(tmp_path) == {name: b"mine"}


def test_a_call_that_is_asked_to_stop_says_how_to_go_on(run, tmp_path, monkeypatch, capsys):
    def stop(*given):
        raise Stopped(15)

    with monkeypatch.context() as patch:
        patch.setattr(draw_parts.DrawParts, "write", stop)
        assert sample(run, tmp_path / "d.npz") == 143
    told = capsys.readouterr().err
    assert "interrupted; what was finished is kept: the same command goes on" in told


def test_what_a_kill_left_of_the_file_is_removed_and_nothing_else(run, tmp_path):
    ours = tmp_path / ".btgm-tmp-d-abcdefgh.npz"
    others = tmp_path / ".btgm-tmp-d-two-abcdefgh.npz"
    for file in (ours, others):
        file.touch()
    sample(run, tmp_path / "d.npz")
    assert not ours.exists()
    assert others.exists()


def test_one_part_is_the_stream_of_the_seed(run, tmp_path, monkeypatch):
    """So few draws that no part is full are what they were before there were parts."""
    monkeypatch.setattr(draw_files, "MOST_PER_PART", 10_000)
    sample(run, tmp_path / "one.npz")
    monkeypatch.setattr(draw_files, "MOST_PER_PART", 600)
    sample(run, tmp_path / "many.npz")
    with np.load(tmp_path / "one.npz") as one, np.load(tmp_path / "many.npz") as many:
        assert (one["z"][:600] == many["z"][:600]).all()
        assert not (one["z"][600:] == many["z"][600:]).any()
        again = tmp_path / "again.npz"
        np.savez(again, **dict(one))
    assert again.read_bytes() == (tmp_path / "one.npz").read_bytes()


def test_memory_is_that_of_one_part(run, tmp_path, monkeypatch):
    """No array of all draws is ever made: the largest write to a file is a part's field."""
    largest = 0
    write = zipfile._ZipWriteFile.write

    def measured(file, content):
        nonlocal largest
        largest = max(largest, len(content))
        return write(file, content)

    monkeypatch.setattr(zipfile._ZipWriteFile, "write", measured)
    sample(run, tmp_path / "d.npz")
    assert largest <= 600 * 3 * 8
    about = json.loads((tmp_path / "d.json").read_text())
    assert about["criterion_evaluations"] == 10_000 + 3 * 1000 + 1000
