"""One process at a time in a run directory; kills, Ctrl-C and SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from btgm_cli import load_run
from btgm_cli.cli import main
from tests.test_cli import GAUSSIAN, SMALL, run_in

pytestmark = pytest.mark.slow  # real processes, which take seconds to start

INTERRUPTED = "btgm run: interrupted; what was finished is kept"
ENDLESS = ["tuning.first_steps=1000000", "target.betas=[0,0.5]"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


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
