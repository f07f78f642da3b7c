"""One process at a time in a run directory; kills, Ctrl-C and SIGTERM."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from btgm_cli import load_run
from btgm_cli.cli import main
from tests.test_cli import GAUSSIAN, SMALL, run_in
from tests.test_kills import CASES, FIRST, TINY, left_by

pytestmark = pytest.mark.slow  # real processes, which take seconds to start

INTERRUPTED = "btgm run: interrupted; what was finished is kept"
ENDLESS = ["tuning.first_steps=1000000", "target.betas=[0,0.5]"]


def begin(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "btgm_cli", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def told_by(process):
    """What a process told on its standard error, once it ended."""
    try:
        return process.communicate(timeout=60)[1]
    finally:
        process.kill()


def wait_for(path, text=""):
    deadline = time.monotonic() + 60
    while not path.exists() or (text and text not in path.read_text()):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)


@pytest.fixture
def endless(here):
    """A process amid the training of its second β, in the directory `live`."""
    process = begin(*GAUSSIAN, *SMALL, *ENDLESS, "out=live")
    wait_for(here / "live" / "flow" / "training.pt")
    yield process
    process.kill()
    process.wait()
    process.stderr.close()


def test_two_processes_cannot_share_a_directory(endless, here, capsys):
    commands = (["run", "resume=live"], [*GAUSSIAN, *SMALL, *ENDLESS, "out=live"])
    asked = [begin(*command) for command in commands]
    lines = [told_by(process) for process in asked]
    assert [process.returncode for process in asked] == [2, 2]
    assert f"is in use by process {endless.pid} on " in lines[0]
    assert lines[0].count("\n") == 1
    assert "live" in lines[1]
    assert len(pd.read_csv(here / "live" / "pareto.csv")) == 1
    assert endless.poll() is None


def test_the_first_of_two_that_begin_at_once_has_the_directory(here):
    settings = [*GAUSSIAN, *SMALL, "target.betas=[0]", "out=both"]
    both = [begin(*settings, f"seed={seed}") for seed in (0, 1)]
    lines = [told_by(process) for process in both]
    codes = [process.returncode for process in both]
    assert sorted(codes) == [0, 2], lines
    winner = codes.index(0)
    told_loser = lines[1 - winner].splitlines()
    assert len(told_loser) == 1
    assert json.loads((here / "both" / "summary.json").read_text())["seed"] == winner
    _, alone = run_in("alone", "target.betas=[0]", f"seed={winner}")
    tables = [
        pd.read_csv(p / "pareto.csv").drop(columns="seconds") for p in (alone, here / "both")
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_a_killed_process_leaves_its_seconds_and_a_lock_that_is_taken_over(endless, here):
    time.sleep(0.5)
    endless.kill()
    endless.wait()
    kept = json.loads((here / "live" / "manifest.json").read_text())["seconds"]
    assert kept > pd.read_csv(here / "live" / "pareto.csv")["seconds"].sum() + 0.2
    holder = here / "live" / ".lock.json"
    assert json.loads(holder.read_text())["pid"] == endless.pid
    again = begin("run", "resume=live")
    wait_for(holder, f'"pid": {again.pid}')
    manifest = here / "live" / "manifest.json"
    first = manifest.stat().st_mtime_ns
    while manifest.stat().st_mtime_ns == first and again.poll() is None:
        time.sleep(0.01)
    again.send_signal(signal.SIGTERM)
    error = told_by(again)
    assert again.returncode == 143
    assert error.splitlines()[-1] == INTERRUPTED + ": btgm run resume=live goes on"
    assert "Traceback" not in error
    assert json.loads((here / "live" / "manifest.json").read_text())["seconds"] > kept


def test_ctrl_c_amid_the_work_is_one_line_and_resumable(endless, here):
    endless.send_signal(signal.SIGINT)
    error = told_by(endless)
    assert endless.returncode == 130
    assert error.splitlines()[-1] == f"{INTERRUPTED}: btgm run resume={here / 'live'} goes on"
    assert "Traceback" not in error
    assert not list((here / "live").rglob(".btgm-tmp-*"))
    assert not (here / "live" / ".lock.json").exists()
    assert load_run("live").pareto["beta"].tolist() == [0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.25, 0.6, 1.2])
def test_a_signal_in_the_first_seconds_is_one_line(here, number, after):
    process = begin(*GAUSSIAN, *SMALL, *ENDLESS, "out=early")
    time.sleep(after)
    process.send_signal(number)
    error = told_by(process)
    assert process.returncode == 128 + number
    assert error.startswith("btgm run: interrupted")
    assert error.count("\n") == 1


def test_signals_are_handled_as_before_once_a_command_is_done(here):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    main(["report", "nowhere"])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


FLOW_ALONE = "tuning.min_acceptance_rate=1"
KILLED = {
    "path": [*CASES["path"], *TINY, FLOW_ALONE, "tuning.first_steps=300"],
    "smc": [*CASES["smc"], *TINY, FLOW_ALONE, "tuning.n_particles=800"],
    "gan": [*CASES["gan"], *TINY, FLOW_ALONE, "tuning.n_reference=2000"],
    "gan, learned acceptance": [*CASES["gan"], *TINY, "target.betas=[0,1]"],
}
AIMS = ["manifest.json", "flow/001.safetensors", "flow/training.pt", "paid", "cost.csv"]
"""Files whose coming is a moment to be killed at; the rest is left to chance."""


def kill_when(process, path, aim, seconds):
    """Kill as soon as a file is there, or after so long; was there anything left to kill?"""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and not (path / aim).exists():
        time.sleep(0.001)
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def begun_or_gone_on(path, command):
    """A process that resumes, or begins where nothing had begun."""
    begun = (path / "manifest.json").is_file()
    return begin(*(["run", f"resume={path}"] if begun else [*command, f"out={path}"]))


@pytest.mark.parametrize(
    ("case", "runs"), [("path", 6), ("smc", 8), ("gan", 4), ("gan, learned acceptance", 2)]
)
def test_runs_of_killed_processes_end_as_the_unbroken_one(here, monkeypatch, case, runs):
    """SIGKILL at aimed moments and at random ones, several to a run; then it may end."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (here / "criterion").mkdir()
    (here / "criterion" / "first.yaml").write_text("_target_: far.First\n")
    (here / "far.py").write_text(FIRST)
    command, whole = ["run", *KILLED[case]], Path("whole")
    started = time.monotonic()
    process = begin(*command, "out=whole")
    process.communicate()
    length = time.monotonic() - started
    assert process.returncode in (0, 3)
    chance, kills = random.Random(case), 0
    for number in range(runs):
        path = Path(f"killed-{number}")
        for aim in (AIMS[number % len(AIMS)], "nothing", "nothing", "nothing"):
            process = begun_or_gone_on(path, command)
            kills += kill_when(process, path, aim, length * chance.uniform(0.2, 0.6))
        # A process ends it as well: in this one learned acceptance is calibrated more briefly.
        process = begun_or_gone_on(path, command)
        process.communicate()
        assert process.returncode in (0, 3)
        assert left_by(path) == left_by(whole), f"run {number}"
    sys.modules.pop("far", None)
    print(f"{case}: {kills} kills of {runs} runs, all equal to the bit")
    assert kills >= 3 * runs


TWELVE = [
    *("run", *GAUSSIAN[1:3], "criterion=linear,quadratic", "seed=0,1,2", "target.C_D=0.1,0.2"),
    *("-m", "threads=1", "samples=2", "flow.depth=2", "flow.hidden=[8]", "tuning.n_eval=200"),
    *("tuning.first_steps=60", "tuning.steps=30", "tuning.checkpoint_every=5"),
    *("tuning.n_reference=400", "tuning.min_acceptance_rate=1", "tuning.max_updates=3"),
]


def rows_of(sweep):
    return pd.read_csv(sweep / "pareto.csv").drop(columns="seconds")


def test_a_sweep_killed_at_twenty_moments_ends_with_the_rows_of_an_unbroken_one(here):
    assert main([*TWELVE, "out=whole"]) in (0, 3)
    kills, sweeps, chance = 0, 0, random.Random(5)
    while kills < 20:
        name = f"sweep{sweeps}"
        begun = (here / name / "sweep.json").exists()
        process = begin(*(["run", f"resume={name}"] if begun else [*TWELVE, f"out={name}"]))
        wait_for(here / name / "sweep.json")
        try:
            process.wait(timeout=chance.uniform(0, 6))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        else:
            sweeps += 1
            pd.testing.assert_frame_equal(rows_of(here / name), rows_of(here / "whole"))
        process.communicate()
    assert main(["run", f"resume={name}"]) in (0, 3)
    pd.testing.assert_frame_equal(rows_of(here / name), rows_of(here / "whole"), check_exact=True)
