"""Pages lead on: every link has an end, every page a place, every setting and column a meaning."""

import re
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Annotated

import pytest
from docs.made import columns, navigation, settings
from docs.made.docstrings import meanings, summary
from docs.made.pages import MADE, made

from btgm_cli.cli.job import RunOptions
from btgm_cli.cli.tree import choices, conf_dir
from btgm_cli.core.results import PathPoint
from btgm_cli.store.rows import columns_of

ROOT = Path(__file__).parents[1]
PAGES = navigation.pages()
FENCED = re.compile(r"^(```+).*?^\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: str, root: Path = ROOT) -> str:
    """A page with what is made of it, without blocks of code."""
    return FENCED.sub("", (root / page).read_text() + made(page))


def slug(heading: str) -> str:
    """The anchor of a heading, by GitHub's rule and MyST's."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE):
        name, n = slug(heading), sum(re.sub(r"-\d+$", "", a) == slug(heading) for a in found)
        found.append(f"{name}-{n}" if n else name)
    return set(found)


def broken(page: str, root: Path = ROOT) -> list[str]:
    """The links of a page that lead nowhere."""
    lost = []
    for link in LINK.findall(re.sub(r"`[^`]*`", "", prose(page, root))):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        end = root / PurePosixPath(page).parent / path if path else root / page
        there = end.is_file()
        if there and anchor:
            there = anchor in anchors(prose(str(end.resolve().relative_to(root)), root))
        lost += [] if there else [link]
    return lost


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert not broken(page)


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "there.md").write_text("# One\n\n## Two words\n\n## Two words\n")
    (tmp_path / "page.md").write_text(
        "[a](docs/there.md) [b](docs/there.md#two-words-1) [c](#x) [d](https://e.org/f)\n"
        "`[g](code.md)`\n\n```text\n[h](code.md)\n```\n"
        "[i](docs/gone.md) [j](docs/there.md#three)\n"
    )
    assert broken("page.md", tmp_path) == ["#x", "docs/gone.md", "docs/there.md#three"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_one_title_and_no_empty_link(page):
    text = prose(page)
    assert text.startswith("# ")
    assert len(re.findall(r"^# ", text, flags=re.MULTILINE)) == 1
    assert "]()" not in text


def test_every_page_has_one_place_in_the_navigation():
    placed = [page for found in navigation.groups().values() for page in found]
    assert sorted(placed) == sorted(set(PAGES) - {"README.md"})
    assert {page.parent.name for page in ROOT.glob("experiments/*/README.md")} == {
        page.split("/")[1] for page in placed if page.startswith("experiments/")
    }
    assert all(page in made("README.md") for page in placed)


def test_a_new_page_is_placed_by_its_name(tmp_path, monkeypatch):
    for page in ("README.md", "experiments/new/README.md", "experiments/fig12/README.md"):
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text("# New\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "new.md").write_text("# New\n")
    monkeypatch.setattr(navigation, "ROOT", tmp_path)
    assert {title: found for title, found in navigation.groups().items() if found} == {
        "Look up": ["docs/new.md"],
        "The paper's figures": ["experiments/fig12/README.md"],
        "Measured": ["experiments/new/README.md"],
    }


def test_figures_come_in_the_order_of_their_numbers():
    figures = navigation.groups()["The paper's figures"]
    numbers = [int(re.search(r"\d+", page)[0]) for page in figures]
    assert len(numbers) >= 11
    assert numbers == sorted(numbers)


def test_every_column_of_a_row_is_explained():
    told = [line for _, found in columns.explained(PathPoint) for line in found]
    assert {name for name, _ in told} == set(columns_of(PathPoint))
    assert not [name for name, what in told if not what]


def test_a_column_that_nothing_explains_is_found():
    @dataclass
    class Point:
        """A row.

        Args:
            a: the first,
                in two lines.
        """

        a: Annotated[float, "first"]
        b: float
        b_se: float

    ((_, found),) = columns.explained(Point)
    assert found == [
        ("first", "the first, in two lines"),
        ("b", ""),
        ("b_se", "standard error of `b`"),
    ]


EXPLAINED = {
    "run": settings.run_settings,
    "train": settings.train_settings,
    **{
        name: lambda name=name: settings.rows(conf_dir() / f"{name}.yaml")
        for name in settings.WITH_A_FILE
    },
    **{name: lambda name=name: settings.dataclass_settings(name) for name in settings.DATACLASSES},
    **{
        f"train model={name}": lambda name=name: settings.network_settings(name)
        for name in choices("train/model")
    },
}


@pytest.mark.parametrize("where", EXPLAINED)
def test_every_setting_is_explained(where):
    found = EXPLAINED[where]()
    assert found
    assert not [name for name, _, what in found if not what]


def test_no_setting_of_a_run_is_left_out():
    page = made("docs/settings.md")
    names = [field.name for field in fields(RunOptions)]
    for group, kind in settings.DATACLASSES.items():
        names += [f"{group}.{field.name}" for field in fields(kind)]
    assert not [name for name in names if f"| `{name}` |" not in page]
    for group in settings.groups():
        assert f"### {group}\n" in page


def test_docstrings_are_read_with_those_of_their_bases():
    class Base:
        """Base.

        Attributes:
            a: of the base. Two sentences.
            b: of the base.
        """

    class Child(Base):
        """Child, in short.

        More of it.

        Args:
            b: of the child
                itself.

        Raises:
            ValueError: never.
        """

    assert meanings(Child) == {"a": "of the base. Two sentences.", "b": "of the child itself"}
    assert summary(Child) == "Child, in short.\n\nMore of it."


def test_what_is_made_is_asked_for_by_a_page():
    assert all((ROOT / page).is_file() for page in MADE)
