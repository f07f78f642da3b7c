"""`btgm figure`: quick figures from end to end, and the measures that they rest on."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from btgm_cli.cli import ended, figure, main
from btgm_cli.cli.config import compose_config
from btgm_cli.domains.analytic.criteria import Linear
from btgm_cli.domains.digits.figures.numbers import tilt_at
from btgm_cli.domains.digits.figures.strokes import thickness
from tests.marks import slow

NUMBERS = {
    *("beta", "kl_paper", "kl", "kl_se", "kl_ref", "kl_ref_se", "ref_reliable"),
    *("mean_f", "mean_f_ref", "kl_gap", "ess_fraction", "status"),
    *("beta_at_paper_kl", "mean_f_at_paper_kl"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the quick Figs. 3 and 6, made from an empty working directory."""
    out = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(out)
        patch.setattr(sys, "path", list(sys.path))
        for name in ("fig3", "fig6"):
            assert main(["figure", name, "quick=true"]) == 0
    return out / "outputs" / "figures" / "quick"


@pytest.fixture
def quick(made, monkeypatch):
    """The same folder, with the working directory and the path of the test's own."""
    monkeypatch.chdir(made.parents[2])
    monkeypatch.setattr(sys, "path", list(sys.path))
    return made


def bar(width: int, length: int) -> torch.Tensor:
    """An image (1, 1, 28, 28) of one straight stroke."""
    x = torch.zeros(1, 1, 28, 28)
    x[..., 4 : 4 + length, 10 : 10 + width] = 1
    return x


@pytest.mark.parametrize(("width", "length"), [(3, 20), (3, 24), (1, 20), (5, 20)])
def test_the_thickness_of_a_bar_is_its_width_but_for_the_ends(width, length):
    # Area w L and perimeter 2 L + 2 w: the width w, over 1 + w/L for the two ends.
    measured = thickness(bar(width, length)).item()
    assert measured == pytest.approx(width / (1 + width / length))
    assert thickness(bar(width, length).transpose(2, 3)).item() == pytest.approx(measured)


def test_an_image_without_ink_has_no_thickness_and_a_full_one_has_its_frame():
    assert thickness(torch.full((1, 1, 28, 28), 0.5)).tolist() == [0]
    assert thickness(torch.ones(1, 1, 28, 28)).tolist() == [14]


def theory(reliable_up_to: float = 2.0) -> pd.DataFrame:
    """`theory.csv` of a linear criterion on a Gaussian: E f = β, KL = β²/2."""
    betas = np.linspace(0, 2, 45)
    tilts = [Linear().gaussian_tilt(beta, 3) for beta in betas]
    return pd.DataFrame(
        {
            "beta": betas,
            "kl": [tilt.kl for tilt in tilts],
            "mean_f": [tilt.mean for tilt in tilts],
            "reliable": betas <= reliable_up_to,
        }
    )


@pytest.mark.parametrize("kl", [0.0, 0.001, 0.4, 1.3, 2.0])
def test_the_tilt_at_a_given_kl_is_the_closed_form(kl):
    assert tilt_at(theory(), kl) == pytest.approx([np.sqrt(2 * kl)] * 2, abs=1e-12)


def test_no_tilt_is_named_where_none_is_known():
    for table, kl in (
        (theory(), 2.1),
        (theory(1.0), 0.7),
        (theory(-1.0), 0.1),
        (theory(), np.nan),
    ):
        assert np.isnan(tilt_at(table, kl)).all()


@pytest.mark.parametrize("name", ["fig5", slow("fig6"), slow("fig7")])
def test_the_figures_visit_the_papers_betas(name):
    paper = list(figure.load_figure(name).kl)
    (overrides,) = figure.load_figure(name).runs().values()
    assert compose_config("run", overrides).target.betas == paper
    (quick,) = figure.load_figure(name, quick=True).runs().values()
    assert set(compose_config("run", quick).target.betas) < set(paper)


@pytest.mark.parametrize("name", figure.FIGURES)
def test_a_quick_figure_is_the_same_one_with_fewer_draws(name):
    full, quick = figure.load_figure(name), figure.load_figure(name, quick=True)
    assert type(full) is type(quick)
    assert full.runs().keys() == quick.runs().keys()
    for run, overrides in quick.runs().items():
        assert overrides[: len(full.runs()[run])] == full.runs()[run]
    small = {"n", "draws", "profiled", "betas"}
    kept = {key: value for key, value in vars(full).items() if key not in small}
    assert kept == {key: value for key, value in vars(quick).items() if key not in small}
    assert vars(full) != vars(quick)


@pytest.mark.slow
def test_fig6_has_the_papers_kl_beside_ours(quick):
    table = pd.read_csv(quick / "fig6" / "fig6.csv")
    assert set(table) >= NUMBERS
    assert table["beta"].tolist() == [0, 0.025, 0.05]
    assert table["kl_paper"].tolist() == [0, 0.3, 2.1]
    # A larger KL takes a larger β and buys a larger mean, as far as the reference is reliable.
    known = table[["beta_at_paper_kl", "mean_f_at_paper_kl"]].dropna()
    assert len(known) >= 2
    assert (known.diff().iloc[1:] > 0).all(axis=None)
    page = (quick / "fig6" / "fig6.md").read_text()
    assert "KL in the paper" in page
    assert page.count("\n| 0.05 |") == 2


@pytest.mark.slow
def test_class_shares_sum_to_one(quick):
    table = pd.read_csv(quick / "fig6" / "shares.csv")
    assert table["beta"].tolist() == [0, 0.025, 0.05]
    shares = table[[f"share_{label}" for label in range(10)]]
    assert np.allclose(shares.sum(axis=1), 1)
    assert table["thickness"].between(1, 5).all()
    assert table["pixel_sum"].between(50, 200).all()


@pytest.mark.slow
def test_fig3_holds_both_tunings_against_one_reference(quick):
    table = pd.read_csv(quick / "fig3" / "fig3.csv")
    assert set(table) >= NUMBERS
    paper, default = (table[table["tuning"] == name] for name in ("paper", "default"))
    assert paper["beta"].tolist() == default["beta"].tolist() == [0, 2, 6]
    assert paper["kl_ref"].tolist() == default["kl_ref"].tolist()
    assert table["mean_f_ref"].between(0, 1).all()
    assert table["kl_paper"].isna().all()
    assert "KL in the paper" not in (quick / "fig3" / "fig3.md").read_text()


@pytest.mark.slow
def test_fig1_compares_both_criteria_for_each_class(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["figure", "fig1", "quick=true"]) == 0
    quick = tmp_path / "outputs" / "figures" / "quick"
    assert (quick / "fig1" / "fig1.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(quick / "fig1" / "fig1.csv")
    assert table["label"].tolist() == [label for label in range(10) for _ in range(2)]
    by_kind = table.groupby("kind")[["plateau", "norm_median", "norm_max"]].median()
    # §4.2: h is flat nearly everywhere and steep between; log h has a slope nearly everywhere.
    assert by_kind.loc["class", "plateau"] > 0.5 > by_kind.loc["log_class", "plateau"]
    assert by_kind.loc["class", "norm_max"] > by_kind.loc["log_class", "norm_max"]
    shown = pd.read_csv(quick / "fig1" / "histograms.csv").groupby(["label", "kind"])["share"]
    assert shown.sum().between(0.8, 1 + 1e-9).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fig3", "fig6"])
def test_pictures_are_png_and_vector(quick, name):
    assert (quick / name / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (quick / name / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert not list((quick / name).glob(".*"))


@pytest.mark.slow
def test_a_finished_run_is_used_again_to_the_same_bytes(quick, monkeypatch, capsys):
    monkeypatch.setattr(ended.run, "main", None)
    before = {path: path.read_bytes() for path in (quick / "fig6").iterdir() if path.is_file()}
    before.pop(quick / "fig6" / "made.json")  # has the seconds
    assert main(["figure", "fig6", "quick=true"]) == 0
    assert {path: path.read_bytes() for path in before} == before
    printed = capsys.readouterr().out
    assert printed.startswith("`tuning=default`:")
    shown = [path for path in before if path.name != "figure.json"]
    assert all(str(path.relative_to(Path.cwd())) in printed for path in shown)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["theory.csv", "pareto.csv", "summary.json", "samples/000.npy"])
def test_a_damaged_run_is_told_before_any_work(quick, monkeypatch, capsys, name):
    monkeypatch.setattr(ended.run, "main", None)
    file = Path("outputs/figures/quick/fig6/runs/default", name)
    kept = file.read_bytes()
    file.write_bytes(kept[: len(kept) // 2])
    try:
        assert main(["figure", "fig6", "quick=true"]) == 2
    finally:
        file.write_bytes(kept)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"default/{name}: " in line


@pytest.mark.slow
@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 0), (2, 2)])
def test_an_interrupted_run_goes_on_whatever_its_verdict(quick, monkeypatch, code, expected):
    run = Path("outputs/figures/quick/fig6/runs/default")
    summary = run / "summary.json"
    kept = summary.read_bytes()
    asked = []

    def resumed(argv):
        asked.append(argv)
        summary.write_bytes(kept)
        return code

    monkeypatch.setattr(ended.run, "main", resumed)
    summary.unlink()
    assert main(["figure", "fig6", "quick=true"]) == expected
    assert asked == [[f"resume={run}"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fig12"], "figure='fig12': choose one of fig1, fig2, fig3, fig4, fig5, fig6, fig7"),
        (
            ["fig5", "quik=true"],
            "quik=True: unknown setting (did you mean quick?); choose from quick, out",
        ),
        (["fig5", "quick"], "quick='': must be given as SETTING=VALUE"),
        (["fig5", "quick=yes"], "quick='yes': must be true or false"),
        (["fig5", "out=file/here"], "out='file/here': must be a folder"),
        (["fig6", "out=outputs/figures/quick/fig6"], "holds a run with other settings"),
    ],
)
def test_bad_input_is_one_line(quick, capsys, arguments, told):
    Path("file").touch()
    assert main(["figure", *arguments]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not printed.out


def test_make_has_a_target_for_each_figure():
    text = (Path(__file__).parents[1] / "Makefile").read_text()
    assert re.search(r"^FIGURES := (.*)$", text, flags=re.M)[1].split() == list(figure.FIGURES)
    assert all(re.search(rf"^{name}: ## ", text, flags=re.M) for name in figure.FIGURES)
