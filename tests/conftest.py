"""What holds for every test: one torch thread, no window, and no global left changed."""

import sys

import matplotlib as mpl
import numpy as np
import pytest
import torch

from btgm_cli.cli import execute, main
from btgm_cli.report.html import one_run, one_sweep
from btgm_cli.store.files import write_bytes
from btgm_cli.truth import guided_moves
from btgm_cli.tuned import regression
from btgm_cli.tuning import fitting


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    mpl.use("Agg")


@pytest.fixture(params=["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def device(request) -> torch.device:
    """Each device of this machine, for what must hold on all of them."""
    return torch.device(request.param)


@pytest.fixture
def brief_lessons(monkeypatch):
    """An SMC learns less of f: its tilt is exact whatever was learned."""
    monkeypatch.setattr(guided_moves, "STEPS", 40)
    monkeypatch.setattr(guided_moves, "INNER", 20)


WHOLE_CALIBRATION = fitting.N_CALIBRATE


@pytest.fixture
def whole_calibration(monkeypatch):
    """For a test of a run as users have it."""
    monkeypatch.setattr(fitting, "N_CALIBRATE", WHOLE_CALIBRATION)


@pytest.fixture(scope="session", autouse=True)
def brief_calibration():
    """An acceptance rests on fewer draws, whose error is told and carried all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "N_CALIBRATE", 20_000)
        yield


@pytest.fixture(scope="module")
def small_batches():
    """For runs whose numbers are compared with their own: a network learns f by fewer pairs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regression, "BATCH", 128)
        yield


@pytest.fixture(scope="session")
def short_run(tmp_path_factory):
    """A run, at β = 0 and 1, whose flow is trained a little too short; not to be changed."""
    from tests.test_cli import GAUSSIAN, SMALL

    path = tmp_path_factory.mktemp("runs") / "short"
    settings = ["target.betas=[0,1]", "tuning.first_steps=40", f"out={path}"]
    assert main([*GAUSSIAN, *SMALL, *settings]) in (0, 3)
    return path


@pytest.fixture(scope="session")
def whole_sweep(tmp_path_factory):
    """An unbroken sweep of four jobs; not to be changed."""
    from tests.test_sweeps import SWEEP

    path = tmp_path_factory.mktemp("sweeps") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        assert main([*SWEEP, f"out={path}"]) in (0, 3)
    return path


WHOLE = (one_run.run_page, one_sweep.sweep_page, execute.draw_all)


def _blank_pictures(run):
    """Files in the places of a run's pictures, with nothing in them."""
    names = ("samples.png", "pareto.png", "theory_vs_empirical.png")
    return [write_bytes(run.path / name, b"") for name in names]


@pytest.fixture(scope="session", autouse=True)
def brief_pages():
    """Runs and sweeps end with empty pages and pictures: they take as long as a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_run, "run_page", lambda *told: "<!doctype html>")
        patch.setattr(one_sweep, "sweep_page", lambda path: ("<!doctype html>", []))
        patch.setattr(execute, "draw_all", _blank_pictures)
        yield


@pytest.fixture
def pages(monkeypatch):
    """For a test whose runs and sweeps end with whole pages, as they do for users."""
    monkeypatch.setattr(one_run, "run_page", WHOLE[0])
    monkeypatch.setattr(one_sweep, "sweep_page", WHOLE[1])


@pytest.fixture
def pictures(monkeypatch):
    """For a test whose runs end with their pictures, as they do for users."""
    monkeypatch.setattr(execute, "draw_all", WHOLE[2])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory of the test's own, with a module path of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def _globals() -> dict[str, object]:
    """Every piece of process-wide state that a library could move behind its caller's back."""
    name, keys, position, *gauss = np.random.get_state()  # noqa: NPY002
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic flag": torch.are_deterministic_algorithms_enabled(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's global random state": torch.get_rng_state().numpy().tobytes(),
        "numpy's global random state": (name, keys.tobytes(), position, *gauss),
    }


def _restore(before: dict[str, object], numpy_state: tuple) -> None:
    torch.set_default_dtype(before["torch's default dtype"])
    torch.set_default_device(before["torch's default device"])
    torch.set_num_threads(before["torch's number of threads"])
    torch.use_deterministic_algorithms(before["torch's deterministic flag"])
    torch.set_grad_enabled(before["torch's gradient mode"])
    np.random.set_state(numpy_state)  # noqa: NPY002


@pytest.fixture(autouse=True)
def untouched_globals(one_thread):
    """Fail the test that pollutes, and put things back so that the next one is judged alone."""
    before, numpy_state = _globals(), np.random.get_state()  # noqa: NPY002
    yield
    after = _globals()
    changed = [what for what, value in before.items() if after[what] != value]
    if changed:
        _restore(before, numpy_state)
        pytest.fail(f"this test changed {', '.join(changed)}: pass a generator, or restore it")
