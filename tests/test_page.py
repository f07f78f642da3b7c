"""`report.html`: what is in it, from whole files and from damaged ones, and means over seeds."""

import dataclasses
import math
import shutil
import struct

import numpy as np
import pandas as pd
import pytest

from btgm_cli.cli import main
from btgm_cli.report.html import run_page, sweep_page
from btgm_cli.report.html.grids import shots
from btgm_cli.report.html.seeds import Seen, fronts_of, mean_of
from btgm_cli.report.html.words import changes, number, sweep_command, with_error
from btgm_cli.store.manifest import Manifest, require_run, write_manifest
from btgm_cli.store.runs import read_run
from btgm_cli.store.sweeps import Planned, write_plan
from tests.marks import slow
from tests.pages import checked, embedded
from tests.test_report import a_run
from tests.test_sweeps import TINY

EVIL = "\"><script>alert('no')</script><img src=x onerror=alert(1)>&amp;"


def a_manifest(criterion="log_class4", seed=0, overrides=(), **settings) -> Manifest:
    own = {"seed": seed, "target": {"betas": [0, 1]}, "tuning": {"steps": 100}} | settings
    typed = [f"criterion={criterion}", f"seed={seed}", *overrides]
    return Manifest("0.1.0", "gan_mnist", criterion, own, typed, {"model.checkpoint": "abc123"})


def a_job(path, seed, values, criterion="log_class4", betas=(0.0, 1.0), overrides=(), **settings):
    """A job whose E f is `values`, under p of mean 0.5 and standard deviation 2."""
    beta = np.array(betas)
    table = pd.DataFrame(
        {
            "beta": beta,
            "beta_normalized": 2 * beta,
            "mean_f": values,
            "kl": beta * 0.7,
            "kl_gap": 0.01 * (seed + 1),
            "status": "ok" if seed else "undertrained",
        }
    )
    theory = pd.DataFrame({"beta": [0.0, 1.0], "mean_f": [0.5, 4.0], "kl": [0.0, 0.6]})
    run = a_run(path, pareto=table, theory=theory, betas=betas, n=2, shape=(3,))
    return Seen(seed, a_manifest(criterion, seed, overrides, **settings), run)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    table = pd.DataFrame(
        {
            "beta": [0.5, 1.0],
            "method": ["tuned", "rejection"],
            "fixed": [7500.0, 0.0],
            "each": [math.nan, 8.8],
            "pays_from": [math.inf, 1.0],
        }
    )
    return a_run(tmp_path_factory.mktemp("run"), cost=table)


@pytest.fixture(scope="module")
def text(run):
    return run_page(run, a_manifest())


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Four jobs, of which one was run, and the others say what it says."""
    path = tmp_path_factory.mktemp("sweeps") / "sweep"
    first = path / "0_linear"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("btgm_cli.cli.execute._draw", lambda job, path: None)
        assert main(["run", *TINY, "criterion=linear", "seed=0", f"out={first}"]) in (0, 3)
    there, jobs = require_run(first), []
    for name in ("linear", "quadratic"):
        for seed in (0, 1):
            folder = f"{len(jobs)}_{name}"
            if folder != first.name:
                shutil.copytree(first, path / folder)
            typed = [*there.overrides[:-2], f"criterion={name}", f"seed={seed}"]
            own = {
                "criterion": name,
                "overrides": typed,
                "settings": there.settings | {"seed": seed},
            }
            made = dataclasses.replace(there, **own)
            write_manifest(path / folder, made)
            jobs.append(Planned(folder, made))
    write_plan(path, jobs)
    return path


def test_a_mean_over_seeds_has_the_standard_error_of_the_mean():
    mean = mean_of([1.0, 2.0, 6.0, math.nan])
    assert mean.value == pytest.approx(3.0)
    assert mean.se == pytest.approx(math.sqrt((4 + 1 + 9) / 2 / 3))
    assert mean.n == 3
    assert math.isnan(mean_of([1.0]).se)
    assert mean_of([]).n == 0


def test_seeds_come_together_and_criteria_do_not(tmp_path):
    jobs = [
        a_job(tmp_path, 0, [0.5, 2.5]),
        a_job(tmp_path, 1, [0.7, 3.5]),
        a_job(tmp_path, 0, [0.0, 1.0], criterion="class4"),
    ]
    four, flat = fronts_of(jobs)
    assert [front.label for front in (four, flat)] == ["log_class4", "class4"]
    start, end = four.points
    assert end.figures["mean_f"].value == pytest.approx(3.0)
    assert end.figures["mean_f"].se == pytest.approx(0.5)  # |3.5 − 2.5| / 2
    assert end.figures["kl"].se == 0
    assert end.figures["kl_gap"].value == pytest.approx(0.015)
    assert end.figures["shift"].value == pytest.approx((3.0 - 0.5) / 2)
    assert end.figures["shift"].se == pytest.approx(0.25)
    assert start.figures["shift"].value == pytest.approx((0.6 - 0.5) / 2)
    assert end.verdicts == {"undertrained": 1, "ok": 1}
    assert math.isnan(flat.points[1].figures["mean_f"].se)


def test_targets_make_one_front_and_other_settings_another(tmp_path):
    kinds = [
        ({"target": {"C_D": 1}}, ["target.C_D=1"]),
        ({"target": {"C_D": 2}}, ["target.C_D=2"]),
        ({"tuning": {"steps": 5}}, ["tuning.steps=5"]),
    ]
    jobs = [a_job(tmp_path, 0, [0.5, 2.5], overrides=typed, **own) for own, typed in kinds]
    both, other = fronts_of(jobs)
    assert (both.label, other.label) == ("log_class4", "log_class4 tuning.steps=5")
    assert (len(both.points), len(other.points)) == (4, 2)


def test_searches_that_end_apart_are_averaged_at_their_ends(tmp_path):
    jobs = [
        a_job(tmp_path, 0, [0.5, 1.5], betas=(0.0, 0.8)),
        a_job(tmp_path, 1, [0.5, 2.5], betas=(0.0, 1.0)),
    ]
    (front,) = fronts_of(jobs)
    start, end = front.points
    assert (start.reached, end.reached) == (False, True)
    assert end.figures["beta"].value == pytest.approx(0.9)
    assert end.figures["mean_f"].value == pytest.approx(2.0)


def test_a_run_is_one_page_that_needs_nothing_else(text):
    page = checked(text)
    sections = [heading["id"] for heading in page.all("h2") if "id" in heading]
    assert sections == ["verdicts", "fronts", "theory", "draws", "costs", "made"]
    assert "gan_mnist towards log_class4" in page.text
    assert "criterion=log_class4" in page.text
    assert "abc123" in page.text
    assert "7,500" in page.text
    (slider,) = page.all("input")
    shots = [item for item in page.all("li") if "data-label" in item]
    assert [item["data-label"] for item in shots][1] == "β = 0.25, KL = 0.05 nats"
    assert (slider["type"], slider["max"]) == ("range", str(len(shots) - 1))
    assert "hidden" not in " ".join(" ".join(item) for item in shots)  # a list without a script
    assert len(text) < 1_000_000


def test_pictures_are_whole_and_charts_know_both_colour_schemes(run, text):
    images = checked(text).all("img")
    kinds = [embedded(image["src"]) for image in images]
    charts = [kind for kind in kinds if not isinstance(kind, bytes)]
    pixels = [kind for kind in kinds if isinstance(kind, bytes)]
    assert (len(charts), len(pixels)) == (3, len(run.pareto))
    for chart in charts:
        style = next(part for part in chart.iter() if part.tag.endswith("style"))
        assert "prefers-color-scheme:dark" in style.text
        assert not [p for p in chart.iter() if p.tag.endswith("image")]
    assert all(struct.unpack(">II", png[16:24]) == (8 * 29 - 1, 2 * 29 - 1) for png in pixels)


@pytest.mark.parametrize("shape", [(3, 8, 8), (), *map(slow, [(20,), (2,), (1,)])])
def test_draws_of_any_shape_are_pictures(tmp_path, shape):
    shown = shots(a_run(tmp_path, shape=shape, n=3, betas=(0.0, 1.0)), most=2)
    assert all(shot.alt.startswith("2 draws of the tuned model at β = ") for shot in shown)
    assert [isinstance(embedded(shot.uri), bytes) for shot in shown] == [len(shape) == 3] * 2


def test_what_comes_from_outside_stays_text(run):
    table = run.pareto.assign(status="undertrained", reason=EVIL)
    told = {"message": EVIL, "remedy": f"btgm run {EVIL!r}", "target": {EVIL: EVIL}}
    told |= {"status": EVIL, "versions": {EVIL: EVIL}}
    made = dataclasses.replace(
        a_manifest(EVIL, overrides=(EVIL,), own=EVIL), checkpoints={EVIL: EVIL}
    )
    cost = run.cost.assign(method=EVIL)
    evil = dataclasses.replace(run, pareto=table, summary=told, cost=cost)
    page = checked(run_page(evil, made, left_out=[EVIL]))
    assert len(page.all("script")) == 1
    assert not [attrs for _, attrs in page.elements if "onerror" in attrs]
    assert page.text.count(EVIL) >= 8


def test_an_unfinished_run_has_a_page(tmp_path):
    run = a_run(tmp_path, betas=(0.0,), theory=pd.DataFrame(), summary={}, samples=[])
    page = checked(run_page(run, None, left_out=["manifest.json: is damaged"]))
    assert "unfinished" in page.text
    assert "manifest.json: is damaged" in page.text
    assert "no draws at β = 0" in page.text


def test_a_sweep_is_one_page(sweep):
    text, faults = sweep_page(sweep)
    page = checked(text)
    assert not faults
    assert len(text) < 2_000_000
    for word in ("linear", "quadratic", "Over seeds", "Sweep of 4 jobs"):
        assert word in page.text
    assert "btgm run -m model=gaussian" in page.text
    assert "criterion=linear,quadratic seed=0,1" in page.text
    row = read_run(sweep / "0_linear").pareto.iloc[0]
    assert f"2 {row['status']} {with_error(row['mean_f'], 0.0)}" in page.text


@pytest.mark.slow
def test_what_is_damaged_in_a_sweep_is_left_out_and_told(sweep, tmp_path, capsys, pages):
    path = tmp_path / "sweep"
    shutil.copytree(sweep, path)
    (path / "0_linear" / "cost.csv").write_text("beta\n1\n")
    (path / "1_linear" / "pareto.csv").write_text("garbage")
    shutil.rmtree(path / "3_quadratic")
    assert main(["report", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out.strip() == str(path / "report.html")
    assert any("0_linear/cost.csv" in line for line in err.splitlines())
    assert any("1_linear/pareto.csv" in line for line in err.splitlines())
    page = checked((path / "report.html").read_text())
    assert "0_linear/cost.csv" in page.text
    assert "waiting" in page.text


def test_a_sweep_whose_plan_is_damaged_has_no_page(sweep, tmp_path, capsys, pages):
    shutil.copytree(sweep, tmp_path / "sweep")
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    assert main(["report", str(tmp_path / "sweep")]) == 2
    assert "sweep.json" in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_has_the_page_that_its_run_would_have(sweep, tmp_path, pages):
    shutil.copytree(sweep / "0_linear", tmp_path / "run")
    assert main(["report", str(tmp_path / "run")]) == 0
    text = (tmp_path / "run" / "report.html").read_text()
    assert text == run_page(read_run(tmp_path / "run"), require_run(tmp_path / "run"))


def test_the_command_of_a_sweep_is_one_line_where_it_can_be():
    square = [a_manifest(name, seed) for name in ("a", "b") for seed in (0, 1)]
    assert sweep_command(square) == "btgm run -m criterion=a,b seed=0,1"
    assert sweep_command(square[:3]) == ""
    assert sweep_command([]) == ""


def test_a_remedy_says_what_it_changes():
    made = a_manifest()
    remedy = "btgm run criterion=log_class4 seed=0 tuning.steps=200 flow.depth=8"
    assert changes(remedy, made) == [("tuning.steps", "200", "100"), ("flow.depth", "8", "")]
    assert changes("ask for less", made) == []


@pytest.mark.parametrize(
    ("value", "se", "words"),
    [
        (-1.2856, 0.0954, "−1.286 ± 0.095"),
        (2.0, 0.0, "2.00"),
        (105.3, 12.0, "105 ± 12"),
        (1e-7, 1e-8, "0.000"),
        (1.0, math.nan, "1.00"),
        (math.nan, 1.0, "–"),
    ],
)
def test_numbers_stop_at_the_second_digit_of_their_error(value, se, words):
    assert with_error(value, se) == words


@pytest.mark.parametrize(
    ("value", "words"), [(math.inf, "∞"), (0.0, "0.000"), (12345.6, "12,346"), (3e-9, "3.00e−09")]
)
def test_numbers_are_short(value, words):
    assert number(value) == words
