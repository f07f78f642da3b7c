"""Each kind of damage to each file of a run, before each command that reads it.

A case ends in one clear line that names the file, or as if nothing were damaged, to the bit. With
`-s` the module prints how many cases did.
"""

import json
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from btgm_cli import BtgmError, load_run
from btgm_cli.cli import execute, main
from btgm_cli.core.seeds import derived_generator
from btgm_cli.report import draw_all
from btgm_cli.store.journal import RunJournal
from btgm_cli.store.manifest import require_run, write_manifest
from btgm_cli.store.runs import read_run
from tests.marks import slow

pytestmark = pytest.mark.usefixtures("small_batches")

RUN = [
    *("run", "model=gaussian", "model.latent_dim=2", "criterion=linear", "target.betas=[0,1.5]"),
    *("flow.depth=2", "flow.hidden=[8]", "tuning.first_steps=60", "tuning.checkpoint_every=20"),
    *("tuning.n_eval=500", "tuning.n_learn=500", "tuning.min_acceptance_rate=0.1"),
    *("tuning.n_reference=2000", "samples=4", "threads=1"),
]
ROWS = {"manifest.json", "pareto.csv"}
WEIGHTS = {"flow/001.safetensors", "flow/001.acceptance.safetensors"}
FIRST = {
    *("flow/000.safetensors", "flow/000.acceptance.safetensors", "flow/000.paid.safetensors"),
    "flow/001.paid.safetensors",
}
PAID = "paid/values.safetensors"
"""Whichever comes first: these files are named by their content."""

SHOWN = {"samples/000.npy", "samples/001.npy"}
END = {"trace.csv", "theory.csv", "cost.csv", "reference.npy", "summary.json"}
PICTURES = {"samples.png", "pareto.png", "theory_vs_empirical.png"}
PAGE = "report.html"
TRAINING = "flow/training.pt"
ALL = sorted({*ROWS, *WEIGHTS, *FIRST, *SHOWN, *END, *PICTURES, PAGE, "run.log", ".lock", PAID})

MUST_TELL = {
    "resume": ROWS | WEIGHTS | FIRST,
    "sample": ROWS | WEIGHTS | {"summary.json"},
    "report": ROWS | WEIGHTS | FIRST | SHOWN | END,
    "load_run": ROWS | WEIGHTS | FIRST | SHOWN | END,
}
"""What each command reads and cannot make again."""

counted: Counter[str] = Counter()


def cut(content):
    return content[: len(content) // 2]


def cut_tail(content):
    return content[:-3]


def garbage(content):
    return np.random.default_rng(0).bytes(max(len(content), 8))


def changed(content):
    """One digit of a text, or one bit."""
    at = [m.start() for m in re.finditer(rb"(?<=\d)\d(?=[\d,\n])", content)]
    if not content.isascii() or not at:
        k = 2 * len(content) // 3
        return content[:k] + bytes([content[k] ^ 1]) + content[k + 1 :]
    k = at[2 * len(at) // 3]
    return content[:k] + (b"3" if content[k : k + 1] != b"3" else b"4") + content[k + 1 :]


def one_column_less(content):
    lines = content.decode().splitlines()
    return "\n".join(",".join(line.split(",")[1:]) for line in lines).encode() + b"\n"


def one_row_less(content):
    return content[: content[:-1].rindex(b"\n") + 1]


def unknown_status(content):
    return re.sub(rb"\b(ok|ok_corrected|undertrained|mode_dropped)\b", b"fine", content)


def one_key_less(content):
    found = json.loads(content)
    return json.dumps(dict(list(found.items())[1:])).encode()


def other_format(content):
    return json.dumps(json.loads(content) | {"format": 99}).encode()


DAMAGE = {"empty": lambda content: b"", "missing": lambda content: None}
DAMAGE |= {f.__name__: f for f in (cut, cut_tail, garbage, changed)}
TEXTS = {f.__name__: f for f in (one_column_less, one_row_less, unknown_status)}
JSONS = {f.__name__: f for f in (one_key_less, other_format, unknown_status)}


def kinds(name):
    if name == ".lock":  # empty, and nobody reads it
        return {"missing": DAMAGE["missing"], "garbage": garbage, "folder": None}
    own = {".csv": TEXTS, ".json": JSONS}.get(name[name.rindex(".") :], {})
    if name in ("theory.csv", "cost.csv", "manifest.json"):
        own = {kind: how for kind, how in own.items() if kind != "unknown_status"}
    return {**DAMAGE, **own, "folder": None}


def place(run, name):
    return min((run / "paid").iterdir()) if name == PAID else run / name


def damage(run, name, kind):
    file = place(run, name)
    content = file.read_bytes()
    how = kinds(name)[kind]
    file.unlink()
    if how is None:
        file.mkdir()
    elif (left := how(content)) is not None:
        assert left != content or not content, "nothing was damaged"
        file.write_bytes(left)


@pytest.fixture(scope="module", autouse=True)
def told_at_the_end():
    yield
    names = ("tried", "one clear line", "as if whole", "tracebacks", "wrong results")
    print("\ndamage:", ", ".join(f"{name} {counted[name]}" for name in names))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    assert main([*RUN, f"out={path}"]) in (0, 3)
    draw_all(read_run(path))
    files = {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}
    assert {PAID if name.startswith("paid/") else name for name in files} == {*ALL}
    return path


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The same run, interrupted amid the training of its second β."""
    path = tmp_path_factory.mktemp("begun") / "run"
    keep, kept = RunJournal.save_training_state, []

    def interrupted(self, index, state):
        keep(self, index, state)
        kept.append(index)
        if len(kept) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunJournal, "save_training_state", interrupted)
        assert main([*RUN, f"out={path}"]) == 130
    assert (path / TRAINING).is_file()
    return path


@pytest.fixture(scope="module")
def expected(whole, tmp_path_factory):
    """What each command gives of a whole run, and its exit code."""
    place = tmp_path_factory.mktemp("expected")
    given = {}
    for command in MUST_TELL:
        shutil.copytree(whole, place / command / "run")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place / command)
            given[command] = outcome(command)
    return given


def outcome(command):
    """The exit code of a command on the directory `run`, and what it gives."""
    if command == "load_run":
        run = load_run("run")
        draws = run.tuned().sample(5, derived_generator(0)).tolist()
        return 0, (run.run.pareto.to_csv(), run.run.theory.to_csv(), run.run.summary, draws)
    if command == "sample":
        code = main(["sample", "run", "n=20", "correct=resample", "out=draws.npz"])
        try:
            with np.load("draws.npz") as draws:
                return code, {name: draws[name].tobytes() for name in draws.files}
        except FileNotFoundError:
            return code, None
    if command == "report":
        return main(["report", "run"]), {name: content(name) for name in PICTURES}
    with pytest.MonkeyPatch.context() as patch:  # `report` is there for the pictures
        patch.setattr(execute, "draw_all", lambda run: [])
        code = main(["run", "resume=run"])
    names = WEIGHTS | FIRST | SHOWN | END | ROWS - {"manifest.json"}
    return code, {name: content(name) for name in names}


def content(name):
    """A file without the seconds that it took; nothing where there is none."""
    try:
        if name == "pareto.csv":
            return pd.read_csv(Path("run", name)).drop(columns="seconds").to_csv()
        return re.sub(rb'"wall_seconds": .*', b"", Path("run", name).read_bytes())
    except (OSError, ValueError):
        return None


def verdict(command, name, expected, capsys):
    """How a command took the damage, and the lines that it told."""
    capsys.readouterr()
    told = None
    try:
        found = outcome(command)
    except BtgmError as error:
        assert command == "load_run"
        found, told = (2, None), f"{error}\n"
    except BaseException as error:  # a traceback, or an exit past the door
        return f"tracebacks: {type(error).__name__}: {error}"
    lines = (capsys.readouterr().err if told is None else told).splitlines()
    if found[0] == 2:
        named = len(lines) == 1 and ("run/paid/" if name == PAID else name) in lines[0]
        return "one clear line" if named else f"tracebacks: {lines}"
    if found == expected[command]:
        return "as if whole"
    return f"wrong results: {found[0]} {lines}"


def judge(run, name, kind, command, expected, capsys):
    found = verdict(command, name, expected, capsys)
    counted["tried"] += 1
    counted[found.partition(":")[0]] += 1
    assert found in ("one clear line", "as if whole")
    if kind != "folder" and name in MUST_TELL[command]:
        assert found == "one clear line", "not told"


@pytest.fixture
def run(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


QUICK = [
    *[(name, "changed", "sample") for name in sorted(MUST_TELL["sample"] | {"theory.csv"})],
    *[(name, "cut", "load_run") for name in sorted(MUST_TELL["load_run"])],
    *[("pareto.csv", kind, "sample") for kind in TEXTS],
    *[("samples/000.npy", "changed", "resume"), ("flow/000.safetensors", "missing", "resume")],
    *[("summary.json", "cut", "resume"), slow("pareto.csv", "one_row_less", "report")],
    slow("theory.csv", "cut_tail", "report"),
]


@pytest.mark.parametrize(("name", "kind", "command"), QUICK)
def test_damage_is_told_or_mended(run, expected, capsys, name, kind, command):
    damage(run, name, kind)
    judge(run, name, kind, command, expected, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("command", MUST_TELL)
@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in ALL for kind in kinds(name)])
def test_every_damage_to_every_file(run, expected, capsys, name, kind, command):
    damage(run, name, kind)
    judge(run, name, kind, command, expected, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_any_cut_and_any_byte(run, expected, capsys, seed):
    rng = np.random.default_rng(seed)
    name = ALL[rng.integers(len(ALL))]
    file = place(run, name)
    kept = file.read_bytes()
    at = int(rng.integers(len(kept) or 1))
    other = kept[:at] + rng.bytes(1) + kept[at + 1 :] if seed % 2 else kept[:at]
    if other == kept:
        other = kept + b"\n"
    file.write_bytes(other)
    command = list(MUST_TELL)[rng.integers(4)]
    judge(run, name, "any", command, expected, capsys)


INTERRUPTED = ["manifest.json", "pareto.csv", "flow/000.safetensors", "samples/000.npy", TRAINING]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (TRAINING, "changed"),
        *[
            pytest.param(name, kind, marks=pytest.mark.slow)
            for name in INTERRUPTED
            for kind in kinds(name)
        ],
    ],
)
def test_an_interrupted_run_is_gone_on_with_or_refused(
    begun, expected, tmp_path, monkeypatch, capsys, name, kind
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(begun, tmp_path / "run")
    damage(tmp_path / "run", name, kind)
    if name != TRAINING or kind == "folder":
        judge(tmp_path / "run", name, "folder", "resume", expected, capsys)
        return
    capsys.readouterr()
    assert outcome("resume") == expected["resume"]
    counted.update(["tried", "as if whole"])
    told = capsys.readouterr().err
    if kind != "missing":
        warning = "flow/training.pt: is damaged; this β is trained again from its start"
        assert [line for line in told.splitlines() if warning in line]


def test_a_report_draws_what_is_whole_and_says_what_it_left_out(run, capsys):
    damage(run, "theory.csv", "cut_tail")
    damage(run, "samples/001.npy", "cut")
    table = (run / "pareto.csv").read_text()
    (run / "pareto.csv").write_text(table.replace("\n0.0,", "\n0.1,", 1))
    for name in PICTURES:
        (run / name).unlink()
    assert main(["report", "run"]) == 2
    out, err = capsys.readouterr()
    assert {line.removeprefix("run/") for line in out.splitlines()} == {*PICTURES, PAGE}
    lines = err.splitlines()
    assert len(lines) == 3
    for words in ("pareto.csv: row 0 is not", "theory.csv: is not", "samples/001.npy: is not"):
        assert any(words in line and line.endswith("left out of the pictures") for line in lines)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("kl_gap,", "kl_gaps,"), "has no column kl_gap"),
        (lambda text: text.replace("closed_form", '"closed_form', 1), "is damaged ("),
        (lambda text: re.sub(r",ok,|,ok$", ",fine,", text), "status='fine' cannot be used"),
    ],
)
def test_the_line_says_what_is_wrong(run, capsys, change, words):
    text = (run / "pareto.csv").read_text()
    assert change(text) != text
    (run / "pareto.csv").write_text(change(text))
    assert main(["sample", "run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "run/pareto.csv: " in line
    assert words in line


@pytest.mark.slow
def test_another_version_is_read_and_not_gone_on_with(run, expected, capsys):
    write_manifest(run, replace(require_run(run), version="0.0.1"))
    for command in ("sample", "load_run", "report"):
        assert outcome(command) == expected[command]
    assert main(["run", "resume=run"]) == 2
    assert "version='0.0.1'" in capsys.readouterr().err
