"""Pictures from a run directory alone: what is drawn, how, and for awkward runs too."""

import json
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from btgm_cli.core.results import PathPoint
from btgm_cli.report import draw_all, draw_samples, pareto_figure, samples_figure, theory_figure
from btgm_cli.store.rows import columns_of
from btgm_cli.store.runs import PARETO, SUMMARY, Run, salvage, samples_file
from btgm_cli.store.tables import THEORY

BETAS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
FIGURES = [pareto_figure, theory_figure, samples_figure]


def pareto_table(betas=BETAS, unreliable_from=1.0) -> pd.DataFrame:
    """Rows of f = a·z with |a| = 1, where E f = β and KL = β²/2, reached with a gap."""
    beta = np.array(betas)
    return pd.DataFrame(
        {
            "beta": beta,
            "mean_f": beta * 0.97,
            "mean_f_se": 0.02,
            "kl": beta**2 / 2 + 0.06 * beta,
            "kl_se": 0.01,
            "mean_f_ref": beta,
            "mean_f_ref_se": 0.01 * (1 + beta),
            "kl_ref": beta**2 / 2,
            "kl_ref_se": 0.01 * (1 + beta),
            "ref_method": "psis",
            "ref_reliable": beta < unreliable_from,
            "status": "ok",
        }
    )


def theory_table(unreliable_from=0.9) -> pd.DataFrame:
    beta = np.linspace(0, 1.25, 51)
    return pd.DataFrame(
        {
            "beta": beta,
            "mean_f": beta,
            "mean_f_se": 0.01 * (1 + beta),
            "kl": beta**2 / 2,
            "kl_se": 0.01 * (1 + beta),
            "reliable": beta < unreliable_from,
            "method": "psis",
        }
    )


def a_run(path: Path, shape=(1, 28, 28), n=16, betas=BETAS, **changes) -> Run:
    rng = np.random.default_rng(0)
    samples = [rng.normal(0.6 * beta, 1, (n, *shape)).astype(np.float32) for beta in betas]
    content = {
        "pareto": pareto_table(betas),
        "trace": pd.DataFrame(),
        "theory": theory_table(),
        "summary": {"model": "gan_mnist", "criterion": "log_class4", "status": "ok"},
        "samples": samples,
    }
    return Run(path=path, **(content | changes))


def with_a_lost_row(path: Path) -> Run:
    table = pareto_table()
    table.loc[3, ["mean_f", "kl"]] = np.nan
    table.loc[3, "status"] = "undertrained"
    run = a_run(path, pareto=table)
    run.samples[3] = run.samples[3][:0]
    return run


def size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the PNG's own header."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:])


def markers(figure: Figure, label: str) -> list:
    """The marks with error bars that were drawn under `label`, over all panels."""
    bars = [bars for axes in figure.axes for bars in axes.containers]
    return [bars.lines[0] for bars in bars if bars.get_label() == label]


def curves(figure: Figure, label: str) -> list:
    lines = [line for axes in figure.axes for line in axes.lines]
    return [line for line in lines if line.get_label() == label]


def texts(figure: Figure) -> str:
    parts = [figure, *figure.axes]
    own = [text.get_text() for part in parts for text in part.texts]
    return "\n".join([*own, *(axes.get_title() + axes.get_title("left") for axes in figure.axes)])


def test_the_three_pictures_come_from_the_directory_alone(tmp_path):
    run = a_run(tmp_path)
    others = {name: 0 for name in columns_of(PathPoint) if name not in run.pareto} | {
        "finite": True
    }
    run.pareto.assign(**others).to_csv(tmp_path / PARETO, index=False)
    run.theory.assign(log_z=0.0, ess=1e3).to_csv(tmp_path / THEORY, index=False)
    (tmp_path / SUMMARY).write_text(json.dumps(run.summary))
    for k, x in enumerate(run.samples):
        samples_file(tmp_path, k).parent.mkdir(exist_ok=True)
        np.save(samples_file(tmp_path, k), x)

    read, (fault,) = salvage(tmp_path)
    paths = draw_all(read)

    assert "manifest.json" in str(fault)  # nothing says what made the rows

    assert [path.name for path in paths] == [
        "samples.png",
        "pareto.png",
        "theory_vs_empirical.png",
    ]
    for path in paths:
        width, height = size(path)
        assert 600 < width < 3000
        assert 300 < height < 3000
    assert not list(tmp_path.glob(".*"))


def test_same_run_same_bytes(tmp_path):
    first = draw_samples(a_run(tmp_path / "a")).read_bytes()
    assert draw_samples(a_run(tmp_path / "b")).read_bytes() == first


@pytest.mark.parametrize("draw", [pareto_figure, theory_figure])
def test_what_is_unreliable_is_hollow_and_dotted(tmp_path, draw):
    figure = draw(a_run(tmp_path))
    solid, dotted = curves(figure, "reference")[0], curves(figure, "unreliable")[0]
    assert (solid.get_linestyle(), dotted.get_linestyle()) == ("-", ":")
    assert np.isfinite(solid.get_ydata()).sum() == 36
    assert np.isfinite(dotted.get_ydata()).sum() == 51 - 36 + 1
    for full, hollow in zip(
        markers(figure, "reference"), markers(figure, "unreliable"), strict=True
    ):
        assert full.get_markerfacecolor() != "white"
        assert hollow.get_markerfacecolor() == "white"
        assert (len(full.get_xdata()), len(hollow.get_xdata())) == (4, 2)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "tuned model, ±2 s.e.",
        "reference (importance sampling, ±2 s.e.)",
        "reference, not reliable",
    ]


def test_a_reliable_reference_needs_no_excuse(tmp_path):
    run = a_run(tmp_path, pareto=pareto_table(unreliable_from=9), theory=theory_table(9))
    figure = theory_figure(run)
    assert not markers(figure, "unreliable")
    assert not curves(figure, "unreliable")
    assert len(figure.legends[0].get_texts()) == 2


def test_error_bars_are_two_standard_errors(tmp_path):
    figure = theory_figure(a_run(tmp_path))
    tuned = next(bars for bars in figure.axes[0].containers if bars.get_label() == "tuned")
    heights = [np.ptp(segment[:, 1]) for segment in tuned.lines[2][1].get_segments()]
    assert heights == pytest.approx([4 * 0.02] * len(BETAS))


@pytest.mark.parametrize("betas", [BETAS, (0, 0.5, 0.9, 0.95, 0.96, 0.955)])
def test_beta_labels_do_not_overlap(tmp_path, betas):
    figure = pareto_figure(a_run(tmp_path, betas=betas))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == len(betas)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("draw", FIGURES)
def test_everything_stays_inside_the_figure(tmp_path, draw):
    figure = draw(with_a_lost_row(tmp_path))
    figure.draw_without_rendering()
    inner, outer = figure.get_tightbbox().padded(-0.01), figure.bbox_inches
    assert outer.x0 <= inner.x0 < inner.x1 <= outer.x1
    assert outer.y0 <= inner.y0 < inner.y1 <= outer.y1


@pytest.mark.parametrize("draw", FIGURES)
def test_a_lost_row_is_named(tmp_path, draw):
    figure = draw(with_a_lost_row(tmp_path))
    said = texts(figure) + (figure.get_suptitle() or "")
    assert "β = 0.75" in said
    assert "not finite" in said
    assert all(len(mark.get_xdata()) == 5 for mark in markers(figure, "tuned"))


def test_each_row_of_images_says_its_beta_and_kl(tmp_path):
    figure = samples_figure(a_run(tmp_path, n=20))
    assert [axes.texts[0].get_text() for axes in figure.axes][1] == "β = 0.25\nKL = 0.05 nats"
    assert [axes.images[0].get_array().shape for axes in figure.axes] == [(28, 16 * 29)] * 6


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (-2, 5)])
def test_black_and_white_are_the_ends_of_the_images_scale(tmp_path, low, high):
    image = np.full((1, 1, 4, 4), low, np.float32)
    image[0, 0, 0, 0] = high
    run = a_run(tmp_path, betas=(0.0,), samples=[image])
    strip = samples_figure(run).axes[0].images[0].get_array()
    assert (strip.min(), strip.max()) == (0, 1)


SHAPES = [(), (1,), (2,), (16,), (1, 40), (9, 9), (3, 8, 8), (2, 3, 4)]


@pytest.mark.parametrize(("shape", "rows"), [((8,), 1), ((8,), 5), *((s, 2) for s in SHAPES)])
def test_any_shape_of_x_is_drawn(tmp_path, shape, rows):
    run = a_run(tmp_path, shape=shape, n=5, betas=BETAS[:rows])
    width, height = size(draw_samples(run))
    assert 500 < width < 3000
    assert 150 < height < 3000


def test_short_vectors_share_their_axes(tmp_path):
    panels = samples_figure(a_run(tmp_path, shape=(8,))).axes
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
    assert len(panels[0].collections[0].get_offsets()) == 16


@pytest.mark.parametrize("shape", [(1, 28, 28), (8,), (20,)])
def test_rows_without_samples_say_so(tmp_path, shape):
    for samples in ([], [np.empty((0, *shape), np.float32)] * 2):
        figure = samples_figure(a_run(tmp_path, shape=shape, betas=BETAS[:2], samples=samples))
        assert texts(figure).count("no samples") == 2


@pytest.mark.parametrize("shape", [(1, 28, 28), (8,), (20,)])
def test_samples_that_are_not_finite_are_left_blank(tmp_path, shape):
    samples = [np.full((3, *shape), np.nan, np.float32)]
    run = a_run(tmp_path, shape=shape, betas=BETAS[:1], samples=samples)
    assert draw_samples(run).is_file()


@pytest.mark.parametrize("draw", FIGURES)
def test_an_unfinished_run_is_drawn(tmp_path, draw):
    run = a_run(tmp_path, betas=(0.0,), theory=pd.DataFrame(), summary={})
    figure = draw(run)
    assert "unfinished" in texts(figure) + (figure.get_suptitle() or "")
