"""Every command that a page tells a reader to type is one that can be typed."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from docs.made.navigation import pages
from docs.made.settings import DATACLASSES
from hydra import initialize_config_dir

from btgm_cli.cli import COMMANDS, audit, direct_sample, figure, rank, report, sample, train
from btgm_cli.cli.config import compose_config, values_of
from btgm_cli.cli.engines import engine_settings, own_settings
from btgm_cli.cli.options import Options, read_run
from btgm_cli.cli.overrides import each_job
from btgm_cli.cli.resume import RESUME
from btgm_cli.cli.settings import arguments, checked
from btgm_cli.cli.tree import choices, conf_dir
from btgm_cli.core.errors import BtgmError
from tests.marks import slow
from tests.shown_files import lay_files

ROOT = Path(__file__).parents[1]
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(btgm [^`]+)`")
PLACEHOLDER = re.compile(r"…|\b[A-Z]\b|\b[A-Z]{3,}\b|ℓ")
"""What stands for something of the reader's own, where a command has no such name itself."""


def in_blocks(page: str) -> list[str]:
    """What follows a `$` in a page's blocks."""
    blocks = CONSOLE.findall((ROOT / page).read_text())
    lines = [line for block in blocks for line in block.splitlines()]
    return [line[2:] for line in lines if line.startswith("$ btgm ")]


def in_text(page: str) -> list[str]:
    """The whole commands within a page's text."""
    prose = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.M | re.S)
    spans = [" ".join(span.split()) for span in SPAN.findall(prose)]
    return [span for span in spans if not PLACEHOLDER.search(span)]


def require_typable(command: str) -> None:
    """Read a command as `btgm` would, up to where work begins.

    Raises:
        BtgmError: it cannot be typed.
    """
    words = shlex.split(command, comments=True)[1:]
    if words in (["--help"], ["--version"]) or "--help" in words:
        return
    name, argv = words[0], words[1:]
    if name not in COMMANDS:
        raise BtgmError(f"{name} is no command")
    if argv:
        READ.get(name, lambda argv: None)(argv)


def read_as_run(argv: list[str]) -> None:
    asked = read_run(argv)
    how = (*engine_settings(asked.settings), "…")
    own = [item for item in asked.settings if item not in how]
    settings = [item for item in own if not item.startswith(("out=", RESUME))]
    if asked.sweep:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            settings = next(each_job(settings))
    if not any(item.startswith(RESUME) for item in argv):
        require_composed(settings)


def require_composed(settings: list[str]) -> None:
    key = (*sorted(Path().rglob("*.yaml")), *settings)
    if key in COMPOSED:
        return
    cfg = compose_config("run", settings)
    for name, kind in DATACLASSES.items():
        checked(kind, values_of(cfg[name]), f"{name}.")
    COMPOSED.add(key)


def read_as_sample(argv: list[str]) -> None:
    how = ("-m", *engine_settings(argv))
    argv = [a for a in argv if a not in how and not a.startswith("shard=range")]
    if "=" not in argv[0]:
        checked(sample.Request, arguments(argv[1:]))
        return
    own = [item for item in argv if item.partition("=")[0] in ("n", "method", "out")]
    checked(direct_sample.Request, arguments(own))
    require_composed([item for item in argv if item not in own])


def read_as_audit(argv: list[str]) -> None:
    cfg = compose_config("audit", argv[1:])
    checked(audit.Settings, values_of(cfg, *audit.PARTS))


def read_as_rank(argv: list[str]) -> None:
    cfg = compose_config("rank", Options("btgm rank").read(argv).settings)
    settings = checked(rank.Settings, values_of(cfg, "model"))
    for criterion in settings.criteria:
        require_composed([f"criterion={criterion}"])


def read_as_figure(argv: list[str]) -> None:
    if argv[0] not in figure.FIGURES:
        raise BtgmError(f"{argv[0]} is no figure")
    checked(figure.Request, arguments(own_settings(argv[1:])))


def read_as_report(argv: list[str]) -> None:
    checked(report.Request, arguments([item for item in argv if "=" in item]))


def read_as_data(argv: list[str]) -> None:
    if argv[0] not in ("fetch", "build") or argv[1] not in choices("data"):
        raise BtgmError(f"no data {' '.join(argv)}")


COMPOSED: set[tuple] = set()
"""Settings that were found to be whole, with the files of the folder."""

READ = {
    "run": read_as_run,
    "rank": read_as_rank,
    "sample": read_as_sample,
    "audit": read_as_audit,
    "train": train.read_settings,
    "figure": read_as_figure,
    "report": read_as_report,
    "data": read_as_data,
}


def where(page: str, folder: Path) -> Path:
    """The folder that a page's commands are typed in; files that it shows are laid into it."""
    lay_files(ROOT / page, folder)
    return (ROOT / page).parent if page.startswith("experiments") else folder


def require_all_typable(found: list[str], page: str) -> None:
    for command in found:
        try:
            require_typable(command)
        except BtgmError as error:
            pytest.fail(f"{page}: {command}\n{error}")


def of_a_study(page):
    """The commands of one experiment; those of the guides are alike."""
    return slow(page) if page.startswith("experiments") else page


@pytest.mark.parametrize("page", [of_a_study(page) for page in pages() if in_blocks(page)])
def test_what_a_page_tells_to_type_can_be_typed(page, here, monkeypatch):
    monkeypatch.chdir(where(page, here))
    require_all_typable(in_blocks(page), page)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in pages() if in_text(page)])
def test_what_a_page_tells_of_within_its_text_can_be_typed(page, here, monkeypatch):
    monkeypatch.chdir(where(page, here))
    require_all_typable(in_text(page), page)


def test_commands_are_found():
    assert sum(len(in_blocks(page)) for page in pages()) > 25
    assert sum(len(in_text(page)) for page in pages()) > 40


@pytest.mark.parametrize(
    "command",
    [
        "btgm tune",
        "btgm run model=gan",
        "btgm run tuning.n_step=3",
        "btgm run tuning.n_eval=1",
        "btgm run target.C_D=1 target.rho=0.1",
        "btgm run -m target.C_D=1,2 criterion=log_class11",
        "btgm sample DIR correct=always",
        "btgm sample target.C_D=1 method=tune",
        "btgm rank criteria=[classy]",
        "btgm audit FILE beta=1",
        "btgm figure fig0",
        "btgm report DIR thread=1",
        "btgm train model=gan_mnist model.latents=3",
        "btgm data fetch cifar",
    ],
)
def test_what_cannot_be_typed_is_found(command, here):
    with pytest.raises(BtgmError):
        require_typable(command)


SETTING = re.compile(r"\b(tuning|target|verdict)\.(\w+)(?=[=`\s,)])")


@pytest.mark.parametrize("page", [page for page in pages() if page != "CHANGELOG.md"])
def test_settings_that_a_page_names_are_there(page):
    """Also those that only text and tables name; the changelog may name what is no more."""
    for group, name in SETTING.findall((ROOT / page).read_text()):
        assert name in {field.name for field in fields(DATACLASSES[group])}, f"{group}.{name}"
