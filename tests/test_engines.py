"""Jobs of a sweep in other processes: the same rows, whatever dies on the way."""

import os
import shutil
import time
from contextlib import suppress
from dataclasses import replace

import pandas as pd
import pytest
from omegaconf import OmegaConf

from btgm_cli.cli import engines, main, tree, work
from btgm_cli.cli.engines import Engine
from btgm_cli.cli.work import Work, do, is_finished
from btgm_cli.store.lock import HOLDER, locked
from btgm_cli.store.sweeps import FAILED, Planned, State, read_plan, state_of
from tests.slurm import can_start, slurm_on_loopback
from tests.test_disk import Disk, forbidden  # noqa: F401
from tests.test_kills import KilledError, Killer
from tests.test_run_processes import begin
from tests.test_sweeps import SWEEP, TINY, index, rows, whole  # noqa: F401

JOBLIB = "hydra/launcher=btgm_joblib"
ENGINES = {
    "btgm_joblib": "hydra_plugins.hydra_joblib_launcher",
    "btgm_local": "hydra_plugins.hydra_submitit_launcher",
    "btgm_ray": "hydra_plugins.hydra_ray_launcher",
}


LUCK = """
import os
import signal
from pathlib import Path

class Luck:
    def __call__(self, x):
        bad = Path(__file__).with_name("bad")
        if len(x) >= 100 and bad.exists():
            bad.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return x[:, 0]
"""


@pytest.fixture
def launches(monkeypatch):
    """Launchers that do jobs here; one is told by a list how each launch is to end."""
    monkeypatch.setattr(engines, "_require_installed", lambda *given: None)
    asked, deaths = [], []

    def launch(engine, sweep, numbers):
        asked.append(list(numbers))
        death = deaths.pop(0) if deaths else None
        for number in numbers:
            if death and number == death[0]:
                if death[1]:
                    with monkeypatch.context() as patch, suppress(KilledError):
                        Killer(patch, 6, behind=True)
                        do(sweep.path, sweep.jobs, number)
                return "a worker died"
            Work(sweep.path)(OmegaConf.create({"number": number}))
        return None

    monkeypatch.setattr(Engine, "_launch", launch)
    return asked, deaths


def copied(whole, here, *without):  # noqa: F811
    """A copy of the sweep without what these jobs left."""
    shutil.copytree(whole, here / "copy")
    for folder in sorted(path for path in (here / "copy").iterdir() if path.is_dir()):
        if int(folder.name[0]) in without:
            shutil.rmtree(folder)
    return here / "copy"


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_own_job_no_more_than_a_second_try(whole, here, launches):  # noqa: F811
    asked, deaths = launches
    deaths.append((1, True))
    path = copied(whole, here, 0, 1, 2)
    assert main(["run", f"resume={path}", JOBLIB]) == 0
    assert asked == [[0, 1, 2], [1], [2]]
    pd.testing.assert_frame_equal(rows(path), rows(whole), check_exact=True)


@pytest.mark.slow
def test_a_job_that_kills_its_worker_twice_fails_alone(whole, here, launches, capsys):  # noqa: F811
    launches[1].extend([(1, True), (1, True)])
    path = copied(whole, here, 0, 1, 2)
    assert main(["run", f"resume={path}", JOBLIB]) == 2
    assert list(index(path)["state"]) == ["finished", "failed", "finished", "finished"]
    assert "its process was lost (a worker died)" in capsys.readouterr().out
    assert main(["run", f"resume={path}"]) == 0  # in this process
    pd.testing.assert_frame_equal(rows(path), rows(whole), check_exact=True)


def test_a_worker_that_dies_before_it_begins_is_no_endless_loop(whole, here, launches, capsys):  # noqa: F811
    asked, deaths = launches
    path = copied(whole, here, 0, 1)
    deaths += [(1, False), (1, False), (1, False)]
    assert main(["run", f"resume={path}", JOBLIB]) == 2
    assert asked == [[0, 1], [1], [1]]
    assert list(index(path)["state"]) == ["finished", "failed", "finished", "finished"]


def test_a_launcher_that_does_not_start_is_told_in_one_line(whole, here, launches, capsys):  # noqa: F811
    path = copied(whole, here, 0, 1)
    launches[1].append((0, False))
    assert main(["run", f"resume={path}", JOBLIB]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "btgm run: hydra/launcher='btgm_joblib': does not start (a worker died)"
    assert not list(path.rglob(FAILED))


def test_a_launcher_that_is_not_installed_is_told_with_the_way_to(here, monkeypatch, capsys):
    monkeypatch.setattr(engines, "find_spec", lambda module: None)
    for name, extra in (
        ("joblib", "joblib"),
        ("local", "slurm"),
        ("slurm", "slurm"),
        ("ray",) * 2,
    ):
        assert main([*SWEEP, f"hydra/launcher=btgm_{name}", "out=new"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        text = f"hydra/launcher='btgm_{name}': is not installed: pip install 'btgm[{extra}]'"
        assert line == f"btgm run: {text}"
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("hydra/launcher=joblip", "hydra/launcher='joblip': unknown (did you mean "),
        ("hydra.launcher.jobs=3", "hydra.launcher.jobs='3': there is no such setting"),
    ],
)
def test_a_launcher_that_there_is_not_is_told_with_the_choices(here, capsys, given, told):
    assert main([*SWEEP, given, "out=new"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"btgm run: {told}")
    assert not list(here.iterdir())


def test_every_launcher_has_a_test_or_needs_a_cluster():
    assert set(tree.choices("hydra/launcher")) == {*ENGINES, "btgm_slurm"}


@pytest.mark.slow
def test_jobs_side_by_side_take_a_thread_each_unless_told(here, launches):
    asked = [item for item in SWEEP if not item.startswith("threads=")]
    for told, threads in ((), 1), (("threads=2",), 2):
        path = here / str(threads)
        one = ["seed=0", "criterion=linear"]
        assert main([*asked, *told, *one, JOBLIB, f"out={path}"]) in (0, 3)
        assert {job.manifest.settings["threads"] for job in read_plan(path)} == {threads}


def test_what_is_finished_is_known_by_its_settings_and_checkpoints(whole):  # noqa: F811
    job = read_plan(whole)[0]
    assert is_finished(whole / job.folder, job)
    other = job.manifest.settings | {"seed": 5}
    assert not is_finished(
        whole / job.folder, Planned(job.folder, replace(job.manifest, settings=other))
    )
    changed = replace(job.manifest, checkpoints={"model.checkpoint": "abc"})
    assert not is_finished(whole / job.folder, Planned(job.folder, changed))


def test_a_job_that_another_process_has_is_waited_for(whole, here, monkeypatch, capsys):  # noqa: F811
    path = copied(whole, here, 0)
    folder, naps = path / read_plan(path)[0].folder, []
    held = locked(folder)

    def nap(seconds):
        naps.append(seconds)
        held.__exit__(None, None, None)

    monkeypatch.setattr(work.time, "sleep", nap)
    held.__enter__()
    assert main(["run", f"resume={path}"]) == 0
    assert naps == [work.PATIENCE]
    assert "waiting: run directory=" in capsys.readouterr().err


def test_a_job_whose_sweep_has_ended_is_left_alone(whole, here):  # noqa: F811
    path = copied(whole, here, 0)
    assert Work(path)(OmegaConf.create({"number": 0})) == ""
    assert state_of(path / read_plan(path)[0].folder) is State.WAITING
    (path / HOLDER).write_text("{}")
    assert Work(path)(OmegaConf.create({"number": 0})) == ""
    assert state_of(path / read_plan(path)[0].folder) is State.FINISHED


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 5, 9, 14, 40])
def test_a_disk_that_becomes_full_amid_a_sweep_is_one_line(whole, here, monkeypatch, capsys, k):  # noqa: F811
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Disk(k, 999))
        assert main([*SWEEP, "out=sweep"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.count("No space left on device") == 1
    if not (here / "sweep" / "sweep.json").exists():
        assert main([*SWEEP, "out=sweep"]) in (0, 3)
    else:
        assert line.endswith(
            f"what was finished is kept, btgm run resume={here / 'sweep'} goes on"
        )
        assert main(["run", "resume=sweep"]) in (0, 3)
    pd.testing.assert_frame_equal(rows(here / "sweep"), rows(whole), check_exact=True)


def test_a_full_disk_is_told_by_a_worker_as_text(whole, here, monkeypatch):  # noqa: F811
    path = copied(whole, here, 0)
    with locked(path), monkeypatch.context() as patch:
        patch.setattr(os, "fsync", Disk(1, 999))
        told = Work(path)(OmegaConf.create({"number": 0}))
    assert "No space left on device" in told
    assert not list(path.rglob(FAILED))


@pytest.mark.slow
def test_a_sweep_that_may_only_be_read_is_one_line(whole, forbidden, capsys):  # noqa: F811
    root = os.getuid() == 0
    os.seteuid(0) if root else None
    forbidden.chmod(0o755)
    path = copied(whole, forbidden, 0)
    every = [path, *path.rglob("*")]
    for file in every:
        file.chmod(0o555 if file.is_dir() else 0o444)
    os.seteuid(65534) if root else None
    try:
        assert main(["run", f"resume={path}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "sweep directory=" in line
        assert "Permission denied" in line
    finally:
        os.seteuid(0) if root else None
        for file in every:
            file.chmod(0o755)
    assert main(["run", f"resume={path}"]) == 0
    pd.testing.assert_frame_equal(rows(path), rows(whole), check_exact=True)


def told_and_left(*arguments):
    """What a process of its own tells, once it has ended well."""
    process = begin(*arguments)
    error = process.communicate(timeout=500)[1]
    assert process.returncode in (0, 3), error
    return error


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_of_a_real_launcher_that_is_killed_takes_no_row_with_it(here, engine):
    pytest.importorskip(ENGINES[engine])
    (here / "criterion").mkdir()
    (here / "criterion" / "luck.yaml").write_text("_target_: luck.Luck\n")
    (here / "luck.py").write_text(LUCK)
    asked = ["run", *TINY, "-m", "criterion=luck,linear"]
    told_and_left(*asked, "out=unbroken")
    (here / "bad").touch()
    told_and_left(*asked, f"hydra/launcher={engine}", "out=sweep")
    assert not (here / "bad").exists()  # the kill has happened
    assert list(index(here / "sweep")["state"]) == ["finished"] * 2
    pd.testing.assert_frame_equal(rows(here / "sweep"), rows(here / "unbroken"), check_exact=True)


def killed_and_gone_on_with(path, *launcher):
    """Kill the sweep's own process once a job has ended, then go on."""
    process = begin(*SWEEP, *launcher, f"out={path}")
    deadline = time.monotonic() + 300
    while not list(path.glob("*/summary.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    process.stderr.close()  # its workers hold the other end
    told_and_left("run", f"resume={path}", *launcher)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_sweep_of_a_real_launcher_goes_on_to_the_same_rows(whole, here, engine):  # noqa: F811
    pytest.importorskip(ENGINES[engine])
    killed_and_gone_on_with(here / "killed", f"hydra/launcher={engine}")
    assert list(index(here / "killed")["state"]) == ["finished"] * 4
    pd.testing.assert_frame_equal(rows(here / "killed"), rows(whole), check_exact=True)


@pytest.mark.slow
def test_a_cluster_of_two_nodes_does_a_sweep(whole, here):  # noqa: F811
    pytest.importorskip(ENGINES["btgm_ray"])
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        address = f"hydra.launcher.ray.init.address='{cluster.address}'"
        killed_and_gone_on_with(here / "killed", "hydra/launcher=btgm_ray", address)
    finally:
        cluster.shutdown()
    pd.testing.assert_frame_equal(rows(here / "killed"), rows(whole), check_exact=True)


@pytest.mark.slow
@pytest.mark.skipif(not can_start(), reason="takes root, and Slurm's daemons and munge's")
def test_slurm_does_a_sweep(whole, here):  # noqa: F811
    pytest.importorskip(ENGINES["btgm_local"])
    with slurm_on_loopback(here / "slurm"):
        killed_and_gone_on_with(here / "killed", "hydra/launcher=btgm_slurm")
    pd.testing.assert_frame_equal(rows(here / "killed"), rows(whole), check_exact=True)
