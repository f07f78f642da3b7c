"""What stands in a run directory is what its configuration made, or the command says so."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from btgm_cli import SettingError, load_run
from btgm_cli.cli import main
from btgm_cli.core.seeds import derived_generator
from btgm_cli.store.files import replacing
from btgm_cli.store.manifest import require_run, write_manifest
from tests.test_cli import GAUSSIAN, SMALL

pytestmark = pytest.mark.usefixtures("small_batches")

USED = [*GAUSSIAN, *SMALL, "seed=0", "target.betas=[0]"]


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A finished run, and a finished sweep of one."""
    path = tmp_path_factory.mktemp("used")
    assert main([*USED, f"out={path / 'run'}"]) == 0
    assert main([*USED, "-m", f"out={path / 'sweep'}"]) == 0
    return path


@pytest.fixture
def run(used, here):
    """A copy of the finished run, in the working directory."""
    shutil.copytree(used / "run", here / "run")
    return here / "run"


def contents(path):
    files = (file for file in path.rglob("*") if file.is_file() and file.name != "run.log")
    return {file: file.read_bytes() for file in files}


def change_manifest(run, **changes):
    write_manifest(run, replace(require_run(run), **changes))


def told(capsys):
    """The one line that a command told."""
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (["seed=1"], "seed=1: "),
        (["target.betas=[0,1.5]"], "target.betas=[0, 1.5]: "),
        (["criterion=quadratic"], "criterion='quadratic': "),
        (["flow.depth=3"], "flow.depth=3: "),
        (["threads=7"], "threads=7: "),
    ],
)
def test_a_used_directory_refuses_other_settings_and_names_the_first(used, capsys, asked, named):
    path = used / "run"
    before = contents(path)
    assert main([*USED, f"out={path}", *asked]) == 2
    assert told(capsys).startswith(f"btgm run: {named}{path} belongs to a run with ")
    assert contents(path) == before
    sweep = used / "sweep"
    before = contents(sweep)
    assert main([*USED, "-m", f"out={sweep}", *asked]) == 2
    assert told(capsys).startswith(f"btgm run: out='{sweep}': already holds a sweep")
    assert contents(sweep) == before


def test_jobs_of_one_sweep_cannot_share_a_directory(here, capsys):
    sweep = ["-m", "seed=0,1", "out=sweep", "hydra.sweep.subdir=one", "target.betas=[0]"]
    assert main([*GAUSSIAN, *SMALL, *sweep]) == 2
    assert "hydra.sweep.subdir='one': is the place of jobs 0 and 1" in told(capsys)
    assert not list(here.iterdir())


def test_rows_without_a_manifest_are_no_ones(run, capsys):
    (run / "manifest.json").unlink()
    before = contents(run)
    for command in (["run", "resume=run"], [*USED, "out=run"], ["sample", "run"]):
        assert main(command) == 2
        assert "manifest.json" in told(capsys)
    assert contents(run) == before


@pytest.mark.parametrize("text", ["", "{", "[1]", "{}", '{"format": 99}'])
def test_a_damaged_manifest_is_named(run, capsys, text):
    (run / "manifest.json").write_text(text)
    for command in (["run", "resume=run"], [*USED, "out=run"], ["sample", "run"]):
        assert main(command) == 2
        assert "run/manifest.json: " in told(capsys)


def test_another_version_is_refused_by_resume_alone(run, capsys):
    change_manifest(run, version="0.0.1")
    assert main(["run", "resume=run"]) == 2
    assert "run belongs to a run with version='0.0.1'" in told(capsys)
    assert main(["sample", "run", "n=10"]) == 0


def test_a_changed_checkpoint_is_refused(here, capsys):
    """The classifier of the same name with other weights, within another criterion."""
    packaged = Path(sys.modules["btgm_cli"].__file__).parent / "domains" / "digits" / "weights"
    mine = here / "mine.safetensors"
    mine.write_bytes((packaged / "classifier_mnist.safetensors").read_bytes())
    criterion = ["criterion=negated", "criterion@criterion.of=class4"]
    criterion += [f"criterion.of.classifier={mine}", "target.betas=[0]"]
    few = ["tuning.n_reference=1000", "tuning.n_eval=200", "samples=4", "tuning.n_particles=200"]
    assert main(["run", "model=gan_mnist", *criterion, *few, "out=run"]) in (0, 3)
    mine.write_bytes((packaged / "classifier_mnist.safetensors").read_bytes() + b"\0")
    manifest = json.loads((here / "run" / "manifest.json").read_text())
    assert set(manifest["checkpoints"]) == {"model.checkpoint", "criterion.of.classifier"}
    with mine.open("r+b") as file:  # other weights in a file that is whole
        file.truncate(mine.stat().st_size - 1)
        file.seek(-4, os.SEEK_END)
        file.write(b"\0\0\0\0")
    capsys.readouterr()
    for command in (["run", "resume=run"], ["sample", "run", "n=10"]):
        assert main(command) == 2
        line = told(capsys)
        assert "criterion.of.classifier=" in line
        assert "has changed since the run in run began" in line


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run whose last β has a learned acceptance."""
    path = tmp_path_factory.mktemp("runs") / "learned"
    settings = [
        *SMALL[:-1],
        "tuning.first_steps=30",
        "tuning.min_acceptance_rate=0.1",
        "tuning.n_learn=500",
        "tuning.n_reference=2000",
        "target.betas=[0,2]",
    ]
    assert main([*GAUSSIAN, *settings, f"out={path}"]) in (0, 3)
    assert (path / "flow" / "001.acceptance.safetensors").is_file()
    return path


@pytest.mark.parametrize("name", ["flow/001.safetensors", "flow/001.acceptance.safetensors"])
@pytest.mark.parametrize("fault", ["missing", "changed"])
def test_a_row_without_what_it_was_made_with_is_refused(learned, capsys, name, fault):
    file = learned / name
    whole = file.read_bytes()
    file.unlink()
    if fault == "changed":
        state = {key: value + 1 for key, value in load_file_of(whole, file).items()}
        save_file(state, file)
    before = contents(learned)
    capsys.readouterr()
    try:
        for command in (["sample", str(learned), "n=10"], ["run", f"resume={learned}"]):
            assert main(command) == 2
            assert name in told(capsys)
        assert contents(learned) == before
        # β = 0 has a flow of its own
        assert load_run(learned).tuned(0.0).sample(3, derived_generator(0)).shape == (3, 3)
    finally:
        file.write_bytes(whole)


def load_file_of(content, file):
    file.write_bytes(content)
    return load_file(file)


def test_an_acceptance_that_no_row_was_made_with_is_not_read(run, learned):
    """A kill between two files leaves the first: it is none of a row that came without it."""
    stray = run / "flow" / "000.acceptance.safetensors"
    stray.write_bytes((learned / "flow" / "001.acceptance.safetensors").read_bytes())
    assert load_run(run).tuned().acceptance is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "left",
    [
        ".lock",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (".hydra/config.yaml", "run.log")
        ),
    ],
)
def test_what_a_kill_left_before_the_manifest_is_no_run(here, left):
    """Half a configuration, as a kill while it was written leaves it."""
    (here / "begun" / ".hydra").mkdir(parents=True)
    (here / "begun" / left).write_text("model:\n  _tar")
    assert main([*USED, "out=begun"]) == 0
    assert main(["run", "resume=begun"]) == 0
    assert main(["sample", "begun", "n=10"]) == 0
    assert main(["report", "begun"]) == 0


def test_a_kill_before_the_first_row_leaves_what_can_be_gone_on_with(run, capsys):
    """What stands there then is a manifest without rows."""
    before = pd.read_csv(run / "pareto.csv").drop(columns="seconds")
    begun = replace(require_run(run), rows=(), files={}, seconds=0.0)
    shutil.rmtree(run)
    run.mkdir()
    write_manifest(run, begun)
    assert main([*USED, "out=run"]) == 2
    assert "go on with resume=" in told(capsys)
    assert main(["run", "resume=run"]) == 0
    after = pd.read_csv(run / "pareto.csv").drop(columns="seconds")
    pd.testing.assert_frame_equal(before, after, check_exact=True)


def test_a_directory_in_which_nothing_began_cannot_be_resumed(here, capsys):
    (here / "begun" / ".hydra").mkdir(parents=True)
    (here / "begun" / ".hydra" / "config.yaml").write_text("model:\n")
    assert main(["run", "resume=begun"]) == 2
    assert "holds no manifest.json" in told(capsys)
    assert not (here / "begun" / "manifest.json").exists()


def test_a_run_needs_none_of_hydras_files(run):
    assert not (run / ".hydra").exists()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["settings"]["target"]["betas"] == [0]
    assert manifest["settings"]["threads"] == 1
    assert manifest["settings"]["device"] in ("cpu", "cuda")
    assert (manifest["model"], manifest["criterion"]) == ("gaussian", "linear")
    assert "target.betas=[0]" in manifest["overrides"]
    assert [len(row) for row in manifest["rows"]] == [3]


def test_what_a_kill_left_half_written_is_removed_by_the_next_start(run):
    """A real SIGKILL between the temporary file and its renaming."""
    code = (
        "import os, signal, sys; from pathlib import Path; from btgm_cli.store.files import *\n"
        "made = [replacing(Path(name)) for name in sys.argv[1:]]\n"
        "for each in made: each.__enter__()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    names = ["flow/000.safetensors", "samples/000.npy", "pareto.csv", "flow/training.pt"]
    whole = set(contents(run))
    subprocess.run([sys.executable, "-c", code, *(str(run / name) for name in names)], check=False)
    assert len(contents(run)) == len(whole) + 4
    assert all(path.name.startswith(".btgm-tmp-") for path in set(contents(run)) - whole)
    assert main(["run", "resume=run"]) == 0
    assert set(contents(run)) == whole


def test_seconds_add_up_over_sittings(run):
    first = json.loads((run / "summary.json").read_text())["wall_seconds"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["seconds"] == pytest.approx(first, abs=0.1)
    change_manifest(run, seconds=1000.0)
    assert main(["run", "resume=run"]) == 0
    assert json.loads((run / "summary.json").read_text())["wall_seconds"] >= 1000
    assert 1000 < json.loads((run / "manifest.json").read_text())["seconds"] < 1000 + 60


@pytest.mark.slow
def test_resume_takes_the_threads_of_the_run(run):
    """The run was left to torch's choice, which was one; the second sitting's choice is two."""
    assert json.loads((run / "manifest.json").read_text())["settings"]["threads"] == 1
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "btgm_cli", "run", "resume=run"]
    (run / "summary.json").unlink()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert json.loads((run / "summary.json").read_text())["threads"] == 1


def test_a_figure_does_not_write_into_a_run(run, capsys):
    before = contents(run)
    assert main(["figure", "fig6", "quick=true", "out=run"]) == 2
    assert "out='run': is a run directory" in told(capsys)
    assert contents(run) == before


def test_a_temporary_file_is_no_checkpoint_of_the_package(monkeypatch, tmp_path):
    from btgm_cli.store import checkpoints

    (tmp_path / "mine" / "weights").mkdir(parents=True)
    monkeypatch.setattr(checkpoints, "DOMAINS", tmp_path)
    with replacing(tmp_path / "mine" / "weights" / "net.safetensors"):
        assert checkpoints.packaged_checkpoints() == []
    assert checkpoints.packaged_checkpoints() == ["net"]


def test_a_directory_is_claimed_by_plain_data_alone(tmp_path):
    from btgm_cli.store.manifest import Manifest, claim

    asked = Manifest("1", "m", "c", {"a": {"b": 1, "l": [1, 2]}, "x": 5}, [], {})
    assert claim(tmp_path, asked) == asked
    assert claim(tmp_path, asked, resume=True) == asked
    with pytest.raises(SettingError, match=r"resume="):
        claim(tmp_path, asked)
    for settings, words in (
        ({"a": {"b": 2, "l": [1, 2]}, "x": 5}, r"^a\.b=2: .* a\.b=1;"),
        ({"a": {"b": 1, "l": [1]}, "x": 5}, r"^a\.l=\[1\]: .* a\.l=\[1, 2\];"),
        ({"a": {"b": 1, "l": [1, 2]}, "x": None}, r"^x=None: .* x=5;"),
        ({"a": {"b": 1, "l": [1, 2]}, "x": 5, "y": 3}, r"^y=3: .* no y;"),
        ({"a": {"b": 1, "l": [1, 2]}}, r"^x=None: .* x=5"),
    ):
        with pytest.raises(SettingError, match=words):
            claim(tmp_path, Manifest("1", "m", "c", settings, [], {}), resume=True)
