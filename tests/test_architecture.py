"""Who may import whom. A new domain needs no line here; a new room needs one in ALLOWED."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "btgm_cli"
ROOT = "__init__"
ALL = "everything"

ALLOWED: dict[str, str] = {
    "core": "",
    "tilt": "core",
    "tuned": "core tilt",
    "truth": "core tilt tuned",
    "tuning": "core tilt tuned truth",
    "store": "core tuned",
    "report": "core store",
    "domains": "",
    "domains.pretraining": "core store",
    "domains.*": "core tilt tuned truth tuning store report domains.pretraining",
    "cli": ALL,
    "__main__": "cli",
    ROOT: ALL,
}

GENERIC = (
    "cli",
    "core",
    "domains.pretraining",
    "report",
    "store",
    "tilt",
    "truth",
    "tuned",
    "tuning",
)
"""Rooms that serve every domain and know none."""

# Outside libraries that only some rooms may know.
CONFINED = {"pyro": "tuned.flows", "hydra": "cli", "omegaconf": "cli"}


def room_of(dotted: str) -> str:
    """The room that a module is in: `tilt.psis` → tilt, `domains.load.weekly` → domains.load."""
    parts = dotted.split(".")
    if parts[0] == "domains":
        return ".".join(parts[:2])
    return parts[0] if parts[0] in ALLOWED else ROOT


def part_of(path: Path) -> str:
    """The dotted module of a source file within the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == ROOT and len(parts) > 1 else parts)


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


def rule(room: str) -> str:
    return ALLOWED.get(room, ALLOWED["domains.*"] if room.startswith("domains.") else "")


def may_import(room: str, other: str) -> bool:
    allowed = rule(room)
    return allowed == ALL or other == room or other in allowed.split()


def violations(path: Path, source: str) -> list[str]:
    part, found = part_of(path), []
    room = room_of(part)
    for name in imported(path, source):
        top, _, own = name.partition(".")
        if top == "btgm_cli" and not may_import(room, room_of(own)):
            found.append(f"{part} may not import {name}")
        if top in CONFINED and not f"{part}.".startswith(f"{CONFINED[top]}."):
            found.append(f"{part} may not import {name}: only {CONFINED[top]} may")
    return found


def domains_known(path: Path, source: str) -> list[str]:
    """The domains that a file imports."""
    own = [name.removeprefix("btgm_cli.") for name in imported(path, source)]
    rooms = {room_of(name) for name in own if name.startswith("domains.")}
    return sorted(rooms - {"domains.pretraining"})


def test_the_top_is_a_dozen_rooms_at_most():
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 12, sorted(entries)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=part_of)
def test_module_imports_only_what_the_table_allows(path):
    top = part_of(path).partition(".")[0]
    assert top in ALLOWED, f"{top} is new: give it a line in ALLOWED in {Path(__file__).name}"
    assert not violations(path, path.read_text())


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("core/results", "from btgm_cli.store.files import replacing"),
        ("tilt/search", "import btgm_cli.tuned.flows"),
        ("tilt/psis", "from ..tuned import flows"),
        ("core/results", "from btgm_cli import tune"),
        ("truth/smc", "from btgm_cli.domains.load.weekly import WeeklyLoad"),
        ("report/weeks", "from btgm_cli.domains.load import weekly"),
        ("domains/energy/wells", "from btgm_cli.domains.load.weekly import WeeklyLoad"),
        ("domains/energy/wells", "from btgm_cli.cli.loading import load_run"),
        ("domains/pretraining/jobs", "from btgm_cli.domains.digits import generator"),
        ("truth/references", "from btgm_cli.domains.analytic.criteria import Linear"),
        ("tuned/model", "def f():\n    import pyro.distributions"),
        ("store/runs", "from omegaconf import OmegaConf"),
    ],
)
def test_a_forbidden_import_is_seen(part, line):
    assert violations(PACKAGE / f"{part}.py", line)


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("tilt/psis", "from . import moments"),
        ("tilt/psis", "from ..core.results import Moments"),
        ("cli/config", "from btgm_cli.tuning import tune"),
        ("tuned/flows/iaf", "from pyro.nn import AutoRegressiveNN"),
        ("domains/energy/wells", "from btgm_cli.domains.pretraining import loop"),
    ],
)
def test_an_allowed_import_passes(part, line):
    assert not violations(PACKAGE / f"{part}.py", line)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=part_of)
def test_what_serves_every_domain_knows_none(path):
    part = part_of(path)
    if room_of(part) in GENERIC:
        assert not domains_known(path, path.read_text())


@pytest.mark.parametrize(
    "line",
    [
        "from btgm_cli.domains.digits.mnist import load_mnist",
        "import btgm_cli.domains.load.weekly",
        "from ..domains import analytic",
        "def f():\n    from btgm_cli.domains.combined.criteria import negated",
    ],
)
def test_a_domain_that_is_known_is_seen(line):
    assert domains_known(PACKAGE / "cli" / "data.py", line)
