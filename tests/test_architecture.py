"""Who may import whom. A new module needs a line in ALLOWED."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "btgm_cli"
ROOT = "__init__"
ALL = "everything"

ALLOWED: dict[str, str] = {
    "core": "",
    "files": "",
    "seeds": "",
    "tilt": "core",
    "beta": "core",
    "moves": "core",
    "smc": "core tilt moves",
    "flows": "core seeds",
    "acceptance": "core seeds",
    "latent": "core seeds",
    "sampling": "core flows acceptance latent",
    "correction": "core tilt latent sampling",
    "verdict": "core tilt",
    "checkpoints": "core files",
    "classifiers": "core checkpoints",
    "models": "core files checkpoints",
    "criteria": "core files checkpoints classifiers latent",
    "references": "core seeds tilt moves smc models criteria latent",
    "price": "core tilt smc latent references",
    "multipliers": "tilt",
    "tuning": "core seeds tilt beta multipliers flows acceptance latent sampling references"
    " verdict",
    "data": "core files",
    "ranking": "core tilt latent references tuning",
    "weekly_load": "core data",
    "weekly_tilt": "core moves smc weekly_load",
    "meter_files": "core data",
    "weekly_build": "core files data meter_files weekly_load",
    "training": "core files seeds models classifiers checkpoints data weekly_load",
    "runs": "core files",
    "scenarios": "core files seeds runs correction latent sampling",
    "journal": "core files flows runs",
    "loading": f"{ALL} but cli",
    "report": "core files runs",
    "figures": "core files seeds runs classifiers checkpoints data weekly_load weekly_tilt latent"
    " loading references report ranking scenarios",
    "bench": ALL,
    "config": f"{ALL} but cli",
    "cli": ALL,
    "__main__": "cli",
    ROOT: ALL,
}

# Outside libraries that only some modules may know.
CONFINED = {"pyro": "flows bench", "hydra": "config cli", "omegaconf": "config loading cli"}


def part_of(path: Path) -> str:
    """The module or subpackage that a source file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def absolute(node: ast.ImportFrom, path: Path) -> str:
    """The dotted module of a `from … import`, relative ones resolved."""
    if not node.level:
        return node.module or ""
    parents = ("btgm_cli", *path.relative_to(PACKAGE).parts[:-1])
    base = parents[: len(parents) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def imported(path: Path, source: str) -> Iterator[str]:
    """Every dotted name that a file imports, at any depth, `from a import b` as a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{absolute(node, path)}.{alias.name}" for alias in node.names)


def own_part(name: str) -> str:
    """`btgm_cli.tilt.psis` → tilt; what is no module comes from the package's own __init__."""
    second = name.removeprefix("btgm_cli").lstrip(".").partition(".")[0]
    return second if second in ALLOWED else ROOT


def may_import(part: str, other: str) -> bool:
    allowed, _, forbidden = ALLOWED[part].partition(" but ")
    if allowed == ALL:
        return other not in forbidden.split()
    return other == part or other in allowed.split()


def violations(path: Path, source: str) -> list[str]:
    part, found = part_of(path), []
    for name in imported(path, source):
        top = name.partition(".")[0]
        if top == "btgm_cli" and not may_import(part, own_part(name)):
            found.append(f"{part} may not import {name}")
        if top in CONFINED and part not in CONFINED[top].split():
            found.append(f"{part} may not import {name}: only {CONFINED[top]} may")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_module_imports_only_what_the_table_allows(path):
    assert part_of(path) in ALLOWED, (
        f"{part_of(path)} is new: give it a line in ALLOWED in {Path(__file__).name}"
    )
    assert not violations(path, path.read_text())


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("core", "from btgm_cli.files import replacing"),
        ("tilt", "import btgm_cli.flows"),
        ("tilt/psis", "from ..flows import iaf"),
        ("core", "from btgm_cli import tune"),
        ("config", "from btgm_cli.cli import main"),
        ("tuning", "def f():\n    import pyro.distributions"),
        ("runs", "from omegaconf import OmegaConf"),
    ],
)
def test_a_forbidden_import_is_seen(part, line):
    assert violations(PACKAGE / f"{part}.py", line)


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("tilt/psis", "from . import moments"),
        ("tilt/psis", "from ..core import Moments"),
        ("config", "from btgm_cli.tuning import tune"),
        ("flows", "from pyro.nn import AutoRegressiveNN"),
    ],
)
def test_an_allowed_import_passes(part, line):
    assert not violations(PACKAGE / f"{part}.py", line)
