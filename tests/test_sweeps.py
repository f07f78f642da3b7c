"""A sweep loses no work, takes no job down with another, and ends as one table."""

import json
import shutil
import sys

import pandas as pd
import pytest

from btgm_cli.cli import main
from btgm_cli.store.lock import locked
from btgm_cli.store.sweeps import State, state_of
from tests.test_kills import KilledError, Killer

TINY = [
    *("model=gaussian", "model.latent_dim=2", "threads=1", "samples=2", "target.betas=[0.3]"),
    *("flow.depth=1", "flow.hidden=[8]", "tuning.first_steps=4", "tuning.checkpoint_every=2"),
    *("tuning.n_eval=200", "tuning.n_reference=400", "tuning.n_particles=100"),
    *("tuning.min_acceptance_rate=1", "tuning.tolerance=0.5"),
]
SWEEP = ["run", *TINY, "-m", "criterion=linear,quadratic", "seed=0,1"]
SECONDS = ["seconds"]

LUCK = """
from pathlib import Path

class Luck:
    def __call__(self, x):
        if len(x) >= 100 and Path("bad").exists():
            raise ArithmeticError("no such luck")
        return x[:, 0]
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def whole(whole_sweep):
    return whole_sweep


def rows(path):
    return pd.read_csv(path / "pareto.csv").drop(columns=SECONDS)


def index(path):
    return pd.read_csv(path / "index.csv", keep_default_na=False)


def test_all_rows_stand_in_one_table_and_each_job_in_another(whole):
    table, jobs = rows(whole), index(whole)
    assert list(jobs["state"]) == ["finished"] * 4
    assert (whole / "report.html").is_file()
    assert list(zip(jobs["criterion"], jobs["seed"], strict=True)) == [
        ("linear", 0),
        ("linear", 1),
        ("quadratic", 0),
        ("quadratic", 1),
    ]
    assert list(table["job"]) == sorted(table["job"])
    for number, folder in zip(jobs["job"], jobs["folder"], strict=True):
        own = pd.read_csv(whole / folder / "pareto.csv").drop(columns=SECONDS)
        part = table[table["job"] == number].reset_index(drop=True)[own.columns]
        pd.testing.assert_frame_equal(part, own, check_exact=True)
        told = json.loads((whole / folder / "summary.json").read_text())
        row = jobs[jobs["job"] == number].iloc[0]
        assert (row["status"], int(row["f_evals"])) == (told["status"], told["f_evals"])


@pytest.mark.parametrize(
    "at", [9, *(pytest.param(at, marks=pytest.mark.slow) for at in [1, *range(2, 80, 4)])]
)
def test_a_killed_sweep_goes_on_to_the_same_rows(whole, here, monkeypatch, at):
    with monkeypatch.context() as patch:
        Killer(patch, at, behind=False)
        with pytest.raises(KilledError):
            main([*SWEEP, "out=killed"])
    if not (here / "killed" / "sweep.json").exists():
        assert main([*SWEEP, "out=killed"]) in (0, 3)  # nothing had begun
    else:
        assert main(["run", "resume=killed"]) in (0, 3)
    pd.testing.assert_frame_equal(rows(here / "killed"), rows(whole), check_exact=True)
    assert list(index(here / "killed")["state"]) == ["finished"] * 4


def test_what_is_finished_is_not_done_again(whole, here, capsys):
    shutil.copytree(whole, here / "copy")
    shutil.rmtree(here / "copy" / "1_gaussian_linear")
    before = {p: p.stat().st_mtime_ns for p in (here / "copy").glob("*/manifest.json")}
    code = main([*SWEEP, "resume=copy"])
    right = set(index(here / "copy")["status"]) <= {"ok", "ok_corrected"}
    assert code == (0 if right else 3)
    assert main(["run", "resume=copy"]) == code  # of what is finished alone
    assert "job 2 of 4" in (told := capsys.readouterr().out)
    assert "job 1 of 4" not in told
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    pd.testing.assert_frame_equal(rows(here / "copy"), rows(whole), check_exact=True)


def test_another_command_is_refused(whole, capsys):
    assert main([*SWEEP[:-1], "seed=0,2", f"resume={whole}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "seed=2" in line
    assert main([*SWEEP[:-1], f"resume={whole}"]) == 2
    assert "4 jobs, and 2 are asked for" in capsys.readouterr().err
    assert main(["run", "seed=1", f"resume={whole}"]) == 2


def test_a_folder_that_holds_a_sweep_is_not_another_ones(whole, capsys):
    assert main([*SWEEP[:-1], "seed=5", f"out={whole}"]) == 2
    assert f"resume={whole}" in capsys.readouterr().err


def test_a_second_process_is_refused(whole, capsys):
    with locked(whole):
        assert main(["run", f"resume={whole}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("btgm run: sweep directory=")
    assert "is in use by process" in line


def test_a_job_that_fails_takes_no_other_down_and_is_tried_again(here, monkeypatch, capsys):
    monkeypatch.setattr("sys.path", list(sys.path))
    (here / "criterion").mkdir()
    (here / "criterion" / "luck.yaml").write_text("_target_: luck.Luck\n")
    (here / "luck.py").write_text(LUCK)
    (here / "bad").touch()
    asked = ["run", *TINY, "-m", "criterion=luck,linear", "out=sweep"]
    assert main(asked) in (2, 3)
    told = capsys.readouterr()
    jobs = index(here / "sweep")
    assert list(jobs["state"]) == ["failed", "finished"]
    assert "no such luck" in jobs["message"][0]
    assert "1 failed" in told.out
    assert "0_gaussian_luck: failed: " in told.out
    assert state_of(here / "sweep" / "0_gaussian_luck") is State.FAILED
    (here / "bad").unlink()
    assert main(["run", "resume=sweep"]) in (0, 3)
    assert list(index(here / "sweep")["state"]) == ["finished"] * 2
    assert set(rows(here / "sweep")["job"]) == {0, 1}
    sys.modules.pop("luck", None)


def test_how_far_a_sweep_is_can_be_asked_and_its_tables_made_again(whole, here, capsys):
    shutil.copytree(whole, here / "copy")
    for name in ("index.csv", "pareto.csv"):
        (here / "copy" / name).unlink()
    shutil.rmtree(here / "copy" / "3_gaussian_quadratic")
    assert main(["status", "copy"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "copy: 3 finished, 1 waiting"
    assert told[-1] == "  3_gaussian_quadratic: waiting"
    assert not (here / "copy" / "index.csv").exists()
    assert main(["collect", "copy"]) == 0
    kept = rows(whole)
    pd.testing.assert_frame_equal(rows(here / "copy"), kept[kept["job"] < 3], check_exact=True)


@pytest.mark.parametrize("command", ["status", "collect"])
def test_a_folder_without_a_sweep_and_a_damaged_plan_are_told(whole, here, command, capsys):
    assert main([command, str(here)]) == 2
    assert "sweep.json" in capsys.readouterr().err
    shutil.copytree(whole, here / "copy")
    plan = here / "copy" / "sweep.json"
    plan.write_text(plan.read_text().replace("linear", "peak"))
    assert main([command, "copy"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not as it was written" in line
    assert main([command]) == 2
    assert main([command, "--help"]) == 0


def test_a_damaged_job_takes_no_other_down(whole, here, capsys):
    shutil.copytree(whole, here / "copy")
    (here / "copy" / "0_gaussian_linear" / "manifest.json").write_text("{}")
    shutil.rmtree(here / "copy" / "1_gaussian_linear")
    assert main(["run", "resume=copy"]) in (2, 3)
    assert "manifest.json" in capsys.readouterr().err
    assert list(index(here / "copy")["state"]) == ["failed", *["finished"] * 3]
