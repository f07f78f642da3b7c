"""Real processes whose readers leave, whose terminals know no Greek, in folders of odd names."""

import os
import subprocess
import sys

import pytest

from tests.test_cli import GAUSSIAN, SMALL

pytestmark = pytest.mark.slow  # real processes, which take seconds to start

QUICK = [*GAUSSIAN, *SMALL, "tuning.first_steps=5", "target.betas=[0,0.1]", "threads=1"]
ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": ""}


def btgm(arguments, folder, **variables):
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-m", "btgm_cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
    )


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path):
    command = [sys.executable, "-m", "btgm_cli", *QUICK, "out=made"]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, **both) as process:
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
    assert process.returncode in (0, 3)
    assert b"Traceback" not in told
    assert b"Broken" not in told
    assert (tmp_path / "made" / "summary.json").is_file()


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "seed=x"]])
def test_what_is_soon_told_may_have_no_reader(tmp_path, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "btgm_cli", *arguments]
    done = subprocess.run(command, cwd=tmp_path, stdout=writer, stderr=writer, check=False)
    os.close(writer)
    assert done.returncode == (2 if "seed=x" in arguments else 0)


def test_a_terminal_of_ascii_replaces_what_it_does_not_know(tmp_path):
    done = btgm([*QUICK, "out=made"], tmp_path, **ASCII)
    assert done.returncode in (0, 3), done.stderr
    assert done.stdout.isascii()
    assert b"?" in done.stdout
    for file in ("summary.json", "run.log", "pareto.csv", "manifest.json"):
        (tmp_path / "made" / file).read_text(encoding="utf-8")
    assert btgm(["report", "made"], tmp_path, **ASCII).returncode == 0
    assert btgm(["list"], tmp_path, **ASCII).returncode == 0
    assert btgm(["rank", "--help"], tmp_path, **ASCII).returncode == 0


NAMES = ["a b", "it's", "dol$lar", "br{ace", "$HOME", "a,b=[c]", "ü", "back\\slash"]


@pytest.mark.parametrize("name", ['quo"te', *NAMES])
def test_a_working_directory_of_any_name(tmp_path, name):
    folder = tmp_path / name
    (folder / "criterion").mkdir(parents=True)
    (folder / "criterion" / "own.yaml").write_text("_target_: mine.f\n_partial_: true\n")
    (folder / "mine.py").write_text("def f(x):\n    return x[:, 0]\n")
    done = btgm([*QUICK, "criterion=own"], folder)
    assert (done.returncode in (0, 3), b"Traceback" in done.stderr) == (True, False), done.stderr
    assert len(list(folder.glob("outputs/gaussian/own/*/summary.json"))) == 1


def test_a_working_directory_that_hydra_would_read_is_refused(tmp_path):
    (tmp_path / "${seed}").mkdir()
    done = btgm(QUICK, tmp_path / "${seed}")
    assert done.returncode == 2
    assert b"working directory=" in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert not list((tmp_path / "${seed}").iterdir())


def test_a_users_scipy_is_not_taken_for_the_library(tmp_path):
    for name in ("scipy", "torch", "yaml", "safetensors"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not this one')\n")
    done = btgm([*QUICK, "out=made"], tmp_path)
    assert done.returncode in (0, 3), done.stderr
    assert (tmp_path / "made" / "summary.json").is_file()


@pytest.mark.parametrize(
    ("given", "kept"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")]
)
def test_threads_that_wait_sleep_unless_somebody_chose(tmp_path, given, kept):
    """Spinning ones made two threads up to fifty times slower than one on busy cores."""
    code = "import os, btgm_cli.cli as c; c.main(['list']); print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", code]
    out = subprocess.check_output(command, cwd=tmp_path, env={**environment, **given}, text=True)
    assert out.splitlines()[-1] == kept
