"""A run that is killed at any moment and resumed ends as the unbroken one, to the bit.

Here a kill is an exception that nothing survives, at each renaming of a file in turn: all that a
process leaves behind changes with these alone. `test_run_processes.py` kills real processes.
"""

import json
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from btgm_cli.cli import main
from btgm_cli.store import paid
from btgm_cli.tuning import fitting, known

pytestmark = pytest.mark.usefixtures("small_batches")

TINY = [
    *("threads=1", "samples=4", "flow.depth=2", "flow.hidden=[8]", "tuning.n_eval=200"),
    "tuning.n_learn=300",
    *("tuning.first_steps=20", "tuning.steps=10", "tuning.checkpoint_every=8"),
    *("tuning.n_reference=400", "tuning.n_particles=160"),
]
CASES = {
    "path": ["model=gaussian", "model.latent_dim=2", "criterion=linear", "target.betas=[0,0.5]"],
    "smc": ["model=gaussian", "model.latent_dim=2", "criterion=first", "target.betas=[0,1,5]"],
    "gan": ["model=gan_mnist", "criterion=log_class4", "target.betas=[0,0.5,1]"],
    "particles": [
        *("model=gaussian", "model.latent_dim=2", "criterion=first", "target.betas=[0,1,2]"),
        *("tuning.gradient=particles", "flow=spline_coupling"),
    ],
    "several": [
        *("model=gaussian", "model.latent_dim=2", "criterion=sum", "tuning.max_updates=2"),
        *("criterion@criterion.terms.first=linear", "criterion@criterion.terms.second=quadratic"),
        "target.at_least={first: 0.6, second: -0.9}",
    ],
}
"""`first` is a criterion whose tilts nobody knows, so that its strong ones take an SMC."""

FIRST = """
class First:
    asked = 0

    def __call__(self, x):
        First.asked += len(x)
        return x[:, 0]
"""

SECONDS = ("seconds", "wall_seconds")


class KilledError(BaseException):
    """What no block handles."""


class Killer:
    """Ends the process at the n-th renaming, before or behind it; nothing is written after."""

    def __init__(self, monkeypatch, at, *, behind):
        self.left, self.behind, self.dead = at, behind, False
        self.replace, self.unlink = os.replace, os.unlink
        monkeypatch.setattr(os, "replace", self.replacing)
        monkeypatch.setattr(os, "unlink", self.unlinking)

    def replacing(self, source, target, **options):
        self.left -= 1
        if self.dead or (self.left == 0 and not self.behind):
            self.dead = True
            raise KilledError
        self.replace(source, target, **options)
        if self.left == 0:
            self.dead = True
            raise KilledError

    def unlinking(self, path, **options):
        if not self.dead:
            self.unlink(path, **options)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working directory with a criterion of its own; the acceptance takes fewer draws."""
    with working_in(tmp_path, monkeypatch):
        yield tmp_path


@contextmanager
def working_in(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(paid, "EVERY", 0.2)
    monkeypatch.setattr(known, "N_PRIOR", 3000)
    monkeypatch.setattr(fitting, "N_OFFERED", 20_000)
    monkeypatch.setattr(fitting, "N_CALIBRATE", 20_000)
    (folder / "criterion").mkdir()
    (folder / "criterion" / "first.yaml").write_text("_target_: far.First\n")
    (folder / "far.py").write_text(FIRST)
    yield
    sys.modules.pop("far", None)


def left_by(path):
    """All that a run leaves, without the seconds and its own name."""
    left = {}
    for file in sorted(path.rglob("*")):
        name = str(file.relative_to(path))
        if file.suffix == ".csv":
            table = pd.read_csv(file)
            kept = [column for column in table if column not in SECONDS]
            left[name] = table[kept].to_csv()
        elif name == "summary.json":
            told = json.loads(file.read_text())
            told["remedy"] = told["remedy"].replace(str(path), "")
            left[name] = {key: value for key, value in told.items() if key not in SECONDS}
        elif file.suffix in (".safetensors", ".npy") and file.parent.name != "paid":
            left[name] = file.read_bytes()
        elif file.suffix in (".png", ".pt") or file.name.startswith(".btgm-tmp-"):
            left[name] = "there"
    return left


def go_on(path, command):
    """Resume, or begin again where nothing had begun."""
    begun = (path / "manifest.json").is_file()
    return main(["run", f"resume={path}"] if begun else [*command, f"out={path}"])


def renamings(command, path, monkeypatch):
    """The renamings of files that an unbroken run takes."""
    with monkeypatch.context() as patch:
        counter = Killer(patch, 0, behind=False)
        assert main([*command, f"out={path}"]) in (0, 3)
    return -counter.left


def killed_and_resumed(command, path, moments, monkeypatch):
    """Kill at each of these renamings of one sitting after the other, then let it end."""
    kills = 0
    for at, behind in moments:
        with monkeypatch.context() as patch:
            Killer(patch, at, behind=behind)
            try:
                go_on(path, command)
            except KilledError:
                kills += 1
    assert go_on(path, command) in (0, 3)
    return kills


@pytest.mark.parametrize(
    ("case", "stride"),
    [
        ("path", 60),
        pytest.param("smc", 12, marks=pytest.mark.slow),
        *(pytest.param(name, 1, marks=pytest.mark.slow) for name in CASES),
    ],
)
def test_a_run_killed_at_any_renaming_ends_as_the_unbroken_one(monkeypatch, case, stride):
    """Beyond the quick form, at every one, behind it and before it in turn."""
    command = ["run", *CASES[case], *TINY]
    whole = Path("whole")
    count = renamings(command, whole, monkeypatch)
    kills = resumed = 0
    for at in range(1, count + 1, stride):
        path = Path(f"killed-{at}")
        kills += killed_and_resumed(command, path, [(at, bool(at % 2))], monkeypatch)
        assert left_by(path) == left_by(whole), f"killed at renaming {at} of {count}"
        resumed += 1
    print(f"{case}: {kills} kills at {count} renamings, {resumed} resumed equal to the bit")
    assert kills >= count // stride - 2  # files of paid values come by the clock


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_run_killed_again_and_again_ends_as_the_unbroken_one(monkeypatch, case):
    command = ["run", *CASES[case], *TINY]
    renamings(command, Path("whole"), monkeypatch)
    moments = [(at, bool(at % 2)) for at in (2, 9, 4, 7, 5, 8, 3, 6)]
    kills = killed_and_resumed(command, Path("killed"), moments, monkeypatch)
    assert kills == len(moments)
    assert left_by(Path("killed")) == left_by(Path("whole"))
    print(f"{case}: {kills} kills of one run, equal to the bit")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run whose reference is an SMC."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, working_in(folder, patch):
        assert main(["run", *CASES["smc"], *TINY, "out=whole"]) in (0, 3)
    return folder


@pytest.fixture
def whole(finished, here):
    """A copy of it, in the working directory."""
    shutil.copytree(finished / "whole", here / "whole")
    return Path("whole")


@pytest.mark.slow
def test_a_resumed_run_pays_for_what_was_left(whole):
    """Neither draws of p nor the SMC's are evaluated again, and nothing is charged again."""
    before = left_by(whole)
    assert main(["run", "resume=whole"]) in (0, 3)
    counted = sys.modules["far"].First
    asked, counted.asked = counted.asked, 0
    assert left_by(whole) == before
    for file in (whole / "paid").iterdir():
        file.unlink()
    assert main(["run", "resume=whole"]) in (0, 3)
    rows = pd.read_csv("whole/pareto.csv")["f_evals"].sum()
    of_reference = json.loads((whole / "summary.json").read_text())["f_evals"] - rows
    assert asked < 1000  # the check of the criterion before the work
    assert counted.asked - asked >= of_reference > 2000


@pytest.mark.parametrize(
    "fault",
    [
        "another value",
        *(
            pytest.param(fault, marks=pytest.mark.slow)
            for fault in ("of another run", "empty", "cut", "garbage")
        ),
    ],
)
def test_paid_values_that_cannot_be_used_are_told_and_evaluated_again(whole, capsys, fault):
    before, files = left_by(whole), sorted((whole / "paid").iterdir())
    for file in files:
        content = file.read_bytes()
        if fault == "of another run":
            file.unlink()
        else:
            file.write_bytes(
                {
                    "empty": b"",
                    "cut": content[: len(content) // 2],
                    "garbage": b"\0" * len(content),
                    "another value": content[:-1] + bytes([content[-1] ^ 1]),
                }[fault]
            )
    if fault == "of another run":
        assert main(["run", *CASES["smc"], *TINY, "seed=1", "out=other"]) in (0, 3)
        shutil.copytree(Path("other") / "paid", whole / "paid", dirs_exist_ok=True)
        files = sorted((whole / "paid").iterdir())
    assert main(["run", "resume=whole"]) in (0, 3)
    told = [line for line in capsys.readouterr().err.splitlines() if "paid" in line]
    assert len(told) == len(files)
    assert all(line.endswith("what it held is evaluated again") for line in told)
    assert left_by(whole) == before
