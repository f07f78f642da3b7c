"""What the pages tell a reader to type does work."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from btgm_cli.cli import main
from btgm_cli.core.results import Status
from btgm_cli.store.tables import read_table
from tests.shown_files import lay_files

ROOT = Path(__file__).parents[1]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)


def run_blocks(page: Path) -> dict:
    names: dict = {}
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), names)
    return names


@pytest.mark.slow
def test_the_readmes_python_block_runs(capsys):
    names = run_blocks(ROOT / "README.md")
    assert capsys.readouterr().out.startswith("ok ")
    assert names["x"].shape == (16, 4)


@pytest.mark.parametrize(
    "page",
    [page for page in sorted(ROOT.glob("experiments/*/README.md")) if python_blocks(page)],
    ids=lambda page: page.parent.name,
)
def test_the_python_blocks_of_an_experiment_run_in_its_folder(page, monkeypatch, capsys):
    monkeypatch.chdir(page.parent)
    monkeypatch.syspath_prepend(page.parent)
    run_blocks(page)
    for own in page.parent.glob("*.py"):
        sys.modules.pop(own.stem, None)
    assert capsys.readouterr().out.startswith("ok ")


FIRST = ROOT / "docs" / "ten_minutes.md"


def test_the_python_blocks_of_the_first_page_run(here, monkeypatch, capsys):
    lay_files(FIRST, here)
    monkeypatch.syspath_prepend(here)
    run_blocks(FIRST)
    sys.modules.pop("mine")
    assert capsys.readouterr().out.startswith("ok ")


@pytest.mark.slow
def test_the_commands_of_the_first_page_do_what_it_quotes(here, capsys):
    """With the same verdicts; figures may differ in their last digits elsewhere."""
    lay_files(FIRST, here)
    for block in re.findall(r"```console\n\$ (btgm .*?)```", FIRST.read_text(), flags=re.S):
        command, _, quoted = block.partition("\n")
        code = main(shlex.split(command)[1:])
        told = verdicts(capsys.readouterr().out)
        assert told == verdicts(quoted), command
        assert code == (0 if told <= {Status.OK, Status.OK_CORRECTED} else 3), command
    sys.modules.pop("mine")


def verdicts(text: str) -> set[str]:
    return set(Status) & set(re.findall(r"\w+", text))


@pytest.mark.slow
def test_a_generator_of_ones_own_runs_from_its_folder(tmp_path, monkeypatch, capsys, pictures):
    """experiments/own_generator: at most ten lines of user code, by YAML and from Python."""
    folder = ROOT / "experiments" / "own_generator"
    code = [line for line in (folder / "ring.py").read_text().splitlines() if line.strip()]
    assert len([line for line in code if not line.startswith(('"""', "import", "from"))]) <= 10
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    quick = [
        "tuning.first_steps=100",
        "tuning.steps=50",
        "tuning.n_eval=2000",
        "tuning.min_acceptance_rate=1",
    ]
    small = ["flow.depth=2", "flow.hidden=[16]", "tuning.max_updates=2"]
    run = [*quick, *small, f"out={tmp_path / 'run'}"]
    assert main(["run", "model=ring", "criterion=to_the_right", "target.C_D=1", *run]) in (0, 3)
    assert (tmp_path / "run" / "samples.png").is_file()
    sys.modules.pop("ring")


@pytest.mark.slow
def test_an_energy_of_ones_own_runs_from_its_folder(tmp_path, monkeypatch, capsys):
    """experiments/own_energy: a function and a YAML."""
    monkeypatch.chdir(ROOT / "experiments" / "own_energy")
    monkeypatch.setattr(sys, "path", list(sys.path))
    quick = ["tuning.first_steps=20", "tuning.n_eval=500", "tuning.n_reference=2000"]
    small = ["tuning.min_acceptance_rate=1", "flow.depth=2", "flow.hidden=[8]", "threads=1"]
    energy = ["model=normal", "model.scale=2", "criterion=energy", "system=ring"]
    run = [*energy, "target.betas=[1]", *quick, *small, f"out={tmp_path / 'run'}"]
    assert main(["run", *run]) in (0, 3)
    exact, row = 2.92972, read_table(tmp_path / "run" / "pareto.csv").iloc[0]  # by quadrature
    assert abs(row["log_z_ref"] - exact) < 4 * row["log_z_ref_se"]
    capsys.readouterr()
    assert main(["run", *run[:-1], "criterion.system.stiff=1", "out=x"]) == 2
    assert "criterion.system.stiff='1': unknown setting (did you mean" in capsys.readouterr().err
    sys.modules.pop("energies")


def test_make_test_oldest_takes_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    asked = [*project["project"]["dependencies"], *extras["parquet"], *extras["test"]]
    asked += project["build-system"]["requires"]
    pinned = {
        line.partition("==")[0]: line.partition("==")[2]
        for line in (ROOT / "constraints-oldest.txt").read_text().splitlines()
    }
    for requirement in map(Requirement, asked):
        (least,) = (bound for bound in requirement.specifier if bound.operator == ">=")
        oldest = Requirement(f"{requirement.name}=={least.version}").specifier
        assert oldest.contains(pinned[requirement.name]), requirement
