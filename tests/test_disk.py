"""Places that cannot be written to, and disks that become full: one line, and nothing is lost.

With `-s` the module prints how many cases were tried.
"""

import errno
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch

from btgm_cli import SettingError
from btgm_cli.cli import main
from btgm_cli.core.errors import WriteError
from btgm_cli.domains.pretraining.loop import STATE_FILE, Record, _save
from btgm_cli.domains.pretraining.settings import RunSettings
from btgm_cli.store.files import replacing, require_writable, write_text
from tests.marks import slow

RUN = [
    *("run", "model=gaussian", "model.latent_dim=2", "criterion=linear", "target.betas=[0,1]"),
    *("flow.depth=2", "flow.hidden=[8]", "tuning.first_steps=60", "tuning.checkpoint_every=20"),
    *("tuning.n_eval=500", "tuning.min_acceptance_rate=1", "samples=4", "threads=1"),
]
FULL = r"cannot be written \(No space left on device\); make room there, or choose another place"
COMMANDS = {
    "run": RUN,
    "sweep": [*RUN, "-m", "seed=0,1"],
    "rank": ["rank", "model=gaussian", "criteria=[linear]", "n=1000", "threads=1"],
    "figure": ["figure", "fig6", "quick=true"],
    "train": ["train", "model=classifier_mnist"],
    "data": ["data", "build", "load", "--input", "readings.csv"],
}


counted: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def told_at_the_end():
    yield
    names = ("tried", "one clear line", "written after all", "equal after resume")
    print("\ndisk:", ", ".join(f"{name} {counted[name]}" for name in names))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "run"
    assert main([*RUN, f"out={path}"]) == 0
    return path


@pytest.fixture
def forbidden(monkeypatch):
    """A folder that this process may read and not write; root is somebody else for a while."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", list(sys.path))
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


@contextmanager
def largest_file(size):
    """Let no file become larger: the kernel refuses with EFBIG, amid whatever library writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Disk:
    """Stands for `os.fsync`, which each file goes through: full at the k-th, and after it."""

    def __init__(self, k, last=None):
        self.k, self.last, self.calls = k, last or k, 0

    def __call__(self, handle):
        self.calls += 1
        if self.k <= self.calls <= self.last:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def one_line(capsys, command):
    counted.update(["tried", "one clear line"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"btgm {command}: ")
    return line


def tree(path):
    return sorted(str(file) for file in path.rglob("*"))


def numbers(run):
    """What a run leaves, without the seconds and the name of its folder."""
    left = {}
    for file in sorted(run.rglob("*")):
        name = str(file.relative_to(run))
        if file.is_dir() or file.suffix == ".log" or name in ("manifest.json", ".lock"):
            continue
        left[name] = re.sub(rb'"(wall_seconds|remedy)": .*', b"", file.read_bytes())
    left["pareto.csv"] = pd.read_csv(run / "pareto.csv").drop(columns="seconds").to_csv()
    return left


@pytest.mark.parametrize(
    "place", ["file/x", *(slow(place) for place in ("/dev/null/x", "file", "x" * 300))]
)
@pytest.mark.parametrize("command", COMMANDS)
def test_no_folder_can_be_there(here, capsys, command, place):
    Path("file").write_text("mine")
    Path("readings.csv").write_text("a,b\n1,2\n")
    before = tree(here)
    assert main([*COMMANDS[command], f"out={place}"]) == 2
    line = one_line(capsys, COMMANDS[command][0])
    assert f"out='{place}'" in line or "File name too long" in line
    assert tree(here) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_may_not_be_written_to(forbidden, capsys, command):
    assert main([*COMMANDS[command], "out=new"]) == 2
    line = one_line(capsys, COMMANDS[command][0])
    assert "out='new'" in line
    assert "cannot be written (Permission denied); allow it, or choose another place" in line


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full_already(here, capsys, monkeypatch, command):
    monkeypatch.setattr(os, "fsync", Disk(1, 999))
    assert main([*COMMANDS[command], "out=new"]) == 2
    line = one_line(capsys, COMMANDS[command][0])
    assert re.search(rf"out='new': {here}: {FULL}", line)
    assert not tree(here)


@pytest.mark.parametrize("place", ["/dev/null/x.npz", "file/x.npz", "folder.npz"])
def test_draws_have_no_place(here, finished, capsys, place):
    Path("file").write_text("mine")
    Path("folder.npz").mkdir()
    before = tree(here)
    assert main(["sample", str(finished), "n=10", f"out={place}"]) == 2
    assert "out='" in one_line(capsys, "sample")
    assert tree(here) == before


def test_a_run_that_may_only_be_read(forbidden, finished, capsys):
    os.seteuid(0) if os.getuid() == 0 else None
    forbidden.chmod(0o755)
    shutil.copytree(finished, forbidden / "run")
    for path in (forbidden / "run").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (forbidden / "run").chmod(0o555)
    os.seteuid(65534) if os.getuid() == 0 else None
    try:
        for command in (["sample", "run", "n=10"], ["report", "run"], ["run", "resume=run"]):
            assert main(command) == 2
            assert "Permission denied" in one_line(capsys, command[0])
    finally:
        os.seteuid(0) if os.getuid() == 0 else None
        for path in (forbidden / "run", *(forbidden / "run").rglob("*")):
            path.chmod(0o755)


@pytest.mark.parametrize("place", ["run.log", "samples.png", "flow", ".lock", ".lock.json"])
def test_a_folder_or_a_file_in_the_way_within_a_run(here, finished, capsys, place):
    shutil.copytree(finished, here / "run")
    there = here / "run" / place
    if there.is_dir():
        shutil.rmtree(there)
        there.write_text("mine")
    else:
        there.unlink(missing_ok=True)
        there.mkdir()
    assert main(["run", "resume=run"]) == 2
    assert "run" in one_line(capsys, "run")


def full_at(k, last, here, finished, capsys, monkeypatch):
    """A run on a disk that is full at the k-th file, then gone on with where there is room."""
    counted["tried"] += 1
    with monkeypatch.context() as patch:
        disk = Disk(k, last)
        patch.setattr(os, "fsync", disk)
        code = main([*RUN, "out=run"])
    err = capsys.readouterr().err
    if disk.calls < k:
        assert code == 0
        counted["written after all"] += 1
        return False
    assert code == 2
    (line,) = [line for line in err.splitlines() if not line.startswith((" ", "\r"))]
    assert re.search(FULL, line)
    counted["one clear line"] += 1
    assert not [path for path in tree(here) if ".btgm-tmp-" in path]
    begun = Path("run", "manifest.json").is_file()
    assert ("btgm run resume=run goes on" in line.replace(f"{here}/", "")) == begun
    assert main(["run", "resume=run"] if begun else [*RUN, "out=run"]) == 0
    assert numbers(here / "run") == numbers(finished)
    counted["equal after resume"] += 1
    capsys.readouterr()
    return True


@pytest.mark.parametrize("k", [5, 17])
def test_a_disk_that_becomes_full(here, finished, capsys, monkeypatch, k):
    assert full_at(k, 999, here, finished, capsys, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("last", [None, 999])
def test_a_disk_that_becomes_full_at_any_file(here, finished, capsys, monkeypatch, last):
    k = 1
    while full_at(k, last, here, finished, capsys, monkeypatch):
        shutil.rmtree(here / "run")
        k += 1
    assert k > 25


@pytest.mark.slow
@pytest.mark.parametrize("size", [6000, *map(slow, (1000, 20_000, 60_000))])
def test_a_file_that_grows_too_large(here, finished, capsys, size):
    """Below a page nothing begins; then, in turn: the weights, the pictures."""
    with largest_file(size):
        assert main([*RUN, "out=run"]) == 2
    counted["tried"] += 1
    err = capsys.readouterr().err
    assert "(File too large); make room there" in err
    assert "Traceback" not in err
    counted["one clear line"] += 1
    begun = Path("run", "manifest.json").is_file()
    assert main(["run", "resume=run"] if begun else [*RUN, "out=run"]) == 0
    assert numbers(here / "run") == numbers(finished)
    counted["equal after resume"] += 1


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "n=5000", "out=draws.npz"],
        ["sample", "n=5000", "out=draws.parquet"],
        ["report"],
        COMMANDS["rank"],
    ],
)
def test_what_other_commands_write_grows_too_large(here, finished, capsys, command):
    shutil.copytree(finished, here / "run")
    name, *settings = command
    directory = [] if name == "rank" else ["run"]
    with largest_file(9000):
        assert main([name, *directory, *settings]) == 2
    assert "(File too large); make room there" in one_line(capsys, name)
    assert not [path for path in tree(here) if ".btgm-tmp-" in path]


def test_a_training_state_grows_too_large(tmp_path):
    class Large:
        network = None

        def state_dict(self):
            return torch.zeros(10_000)

    with largest_file(9000), pytest.raises(WriteError, match=rf"{STATE_FILE}: .*too large"):
        _save(Large(), Record(), RunSettings("net", out=str(tmp_path)), {})
    assert not tree(tmp_path)


def mounted(folder, size):
    """Is there now a small disk at `folder`?"""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("room", [4, 24, 44, 64, 84, 104, 124, 164, 204])
def test_a_small_disk(here, finished, capsys, room):
    """A real one of so many KiB where this machine lets us make one, else the largest file."""
    real = mounted(here / "disk", "4m")
    try:
        if real:
            Path("disk", "filler").write_bytes(bytes(4 * 2**20 - room * 2**10))
        with largest_file(2**30 if real else room * 2**10):
            code = main([*RUN, "out=disk/run"])
        counted["tried"] += 1
        err = capsys.readouterr().err
        assert "Traceback" not in err
        assert code == 2
        assert re.search(r"\((No space left on device|File too large)\)", err)
        counted["one clear line"] += 1
        Path("disk", "filler").unlink(missing_ok=True)
        begun = Path("disk", "run", "manifest.json").is_file()
        assert main(["run", "resume=disk/run"] if begun else [*RUN, "out=disk/run"]) == 0
        assert numbers(here / "disk" / "run") == numbers(finished)
        counted["equal after resume"] += 1
    finally:
        if real:
            # Lazily: weights that were read are mapped until they are collected.
            subprocess.run(["umount", "-l", str(here / "disk")], check=True)


def test_the_terminal_is_a_file_on_a_full_disk():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "btgm_cli", "list"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    told = "btgm list: standard output: not all could be written (No space left on device)\n"
    assert done.stderr == told


@pytest.mark.parametrize("raised", [ValueError("mine"), OSError("mine"), ConnectionError(111, "")])
def test_what_is_no_fault_of_the_disk_stays_what_it_is(tmp_path, raised):
    with pytest.raises(type(raised)), replacing(tmp_path / "a.txt"):
        raise raised
    assert not tree(tmp_path)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EROFS, "allow it"),
        (errno.EISDIR, "in the way"),
        (errno.EIO, "check the disk"),
    ],
)
def test_each_reason_has_its_remedy(tmp_path, monkeypatch, code, remedy):
    def refused(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(WriteError, match=rf"a\.txt: .*{os.strerror(code)}.*{remedy}"):
        write_text(tmp_path / "a.txt", "text")
    with pytest.raises(SettingError, match=rf"out='.*new': .*{os.strerror(code)}.*{remedy}"):
        require_writable("out", tmp_path / "new")
    assert not tree(tmp_path)


def test_a_place_that_can_be_written_to_stays_as_it_is(tmp_path):
    require_writable("out", tmp_path / "new" / "deep")
    require_writable("out", tmp_path)
    assert not tree(tmp_path)
