"""Reading and fetching MNIST, with small files of the same form."""

import gzip
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch

from btgm_cli.cli import main
from btgm_cli.core.errors import DataError
from btgm_cli.domains.digits import mnist as data
from btgm_cli.domains.digits.mnist import IdxFile, fetch_mnist, load_mnist, read_idx
from btgm_cli.store.data_dir import resolve_data_dir

IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
NOWHERE = "http://127.0.0.1:9/"  # the discard port: nothing listens there


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        IMAGES: rng.integers(0, 256, (6, 28, 28), np.uint8),
        LABELS: rng.integers(0, 10, 6, np.uint8),
        "t10k-images-idx3-ubyte.gz": rng.integers(0, 256, (4, 28, 28), np.uint8),
        "t10k-labels-idx1-ubyte.gz": rng.integers(0, 10, 4, np.uint8),
    }


@pytest.fixture
def small_mnist(monkeypatch) -> dict[str, bytes]:
    """The gzipped files by name; `data` expects them in the place of the real ones."""
    plain = {name: idx_bytes(array) for name, array in arrays().items()}
    specs = {
        key: IdxFile(
            spec.name, arrays()[spec.name].shape, hashlib.md5(plain[spec.name]).hexdigest()
        )
        for key, spec in data.MNIST_FILES.items()
    }
    monkeypatch.setattr(data, "MNIST_FILES", specs)
    return {name: gzip.compress(content) for name, content in plain.items()}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def mirror(small_mnist, tmp_path, monkeypatch) -> Iterator[tuple[str, list[str]]]:
    """The address of a local mirror, and the names that it was asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_):
            asked.append(Path(self.path).name)

        def log_error(self, *_):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = write(tmp_path / "served", small_mnist)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()
        thread.join()


def test_digits_are_floats_in_the_unit_interval(small_mnist, tmp_path):
    write(tmp_path / "mnist", small_mnist)
    mnist = load_mnist(tmp_path)
    assert mnist.train_images.shape == (6, 1, 28, 28)
    assert mnist.test_images.shape == (4, 1, 28, 28)
    assert mnist.train_images.dtype == torch.float32
    assert mnist.train_labels.dtype == torch.int64
    expected = arrays()
    assert torch.equal(
        (mnist.train_images[:, 0] * 255).round().byte(), torch.from_numpy(expected[IMAGES])
    )
    assert mnist.train_labels.tolist() == expected[LABELS].tolist()
    assert mnist.train_images.max() <= 1


DAMAGE = {
    "truncated gzip": (lambda f: f[IMAGES][:-50], "truncated"),
    "empty": (lambda f: b"", "not an IDX file"),
    "no gzip": (lambda f: b"<html>not found</html>", "corrupt"),
    "flipped byte": (lambda f: f[IMAGES][:200] + b"\xff\x00" + f[IMAGES][202:], "corrupt"),
    "labels instead": (lambda f: f[LABELS], "mislabelled"),
    "other set": (lambda f: f["t10k-images-idx3-ubyte.gz"], "mislabelled"),
    "other bytes": (
        lambda f: gzip.compress(gzip.decompress(f[IMAGES])[:-1] + b"\x00"),
        "altered",
    ),
    "short array": (lambda f: gzip.compress(gzip.decompress(f[IMAGES])[:-1]), "truncated"),
    "short header": (lambda f: gzip.compress(bytes([0, 0, 8, 3, 0, 0])), "truncated"),
    "other type": (lambda f: gzip.compress(bytes([0, 0, 13, 1, 0, 0, 0, 0])), "not an IDX file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_is_refused_by_name(damage, small_mnist, tmp_path):
    spoil, fault = DAMAGE[damage]
    write(tmp_path / "mnist", {**small_mnist, IMAGES: spoil(small_mnist)})
    with pytest.raises(DataError, match=fault) as caught:
        load_mnist(tmp_path)
    assert IMAGES in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_names_the_setting_and_the_command(tmp_path):
    with pytest.raises(DataError, match=r"btgm data fetch mnist.*data_dir.*BTGM_DATA_DIR"):
        load_mnist(tmp_path)


def test_unreadable_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)


def test_idx_reader_takes_the_stated_shape(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "any.gz"
    path.write_bytes(gzip.compress(idx_bytes(array)))
    assert np.array_equal(read_idx(path), array)


def test_setting_comes_before_environment_before_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("BTGM_DATA_DIR", raising=False)
    assert resolve_data_dir() == platformdirs.user_cache_path("btgm")
    monkeypatch.setenv("BTGM_DATA_DIR", str(tmp_path / "environment"))
    assert resolve_data_dir() == tmp_path / "environment"
    assert resolve_data_dir(tmp_path / "setting") == tmp_path / "setting"


def test_fetch_tries_mirrors_in_turn(mirror, tmp_path, monkeypatch):
    address, asked = mirror
    fetch_mnist(tmp_path / "data", [NOWHERE, address])
    assert sorted(asked) == sorted(arrays())
    assert len(load_mnist(tmp_path / "data").train_labels) == 6


def test_the_command_says_where_the_files_are(small_mnist, tmp_path, capsys):
    folder = write(tmp_path / "mnist", small_mnist)
    assert main(["data", "fetch", "mnist", f"data_dir={tmp_path}"]) == 0
    assert capsys.readouterr().out == f"MNIST is in {folder}\n"


def test_fetch_keeps_sound_files_and_mends_damaged_ones(mirror, tmp_path, small_mnist):
    address, asked = mirror
    write(tmp_path / "data" / "mnist", {**small_mnist, LABELS: b"half a fi"})
    fetch_mnist(tmp_path / "data", [address])
    assert asked == [LABELS]
    load_mnist(tmp_path / "data")


def test_fetch_accepts_other_compression_of_the_same_bytes(mirror, tmp_path, small_mnist):
    address, _ = mirror
    recompressed = gzip.compress(gzip.decompress(small_mnist[IMAGES]), compresslevel=1)
    assert recompressed != small_mnist[IMAGES]
    write(tmp_path / "served", {IMAGES: recompressed})
    fetch_mnist(tmp_path / "data", [address])


def test_fetch_leaves_nothing_of_a_file_that_is_not_sound(mirror, tmp_path):
    address, _ = mirror
    write(tmp_path / "served", {IMAGES: gzip.compress(b"something else")})
    with pytest.raises(DataError, match=r"no mirror.*DataError"):
        fetch_mnist(tmp_path / "data", [address])
    assert list((tmp_path / "data" / "mnist").iterdir()) == []


def test_no_network_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(DataError, match=r"no mirror.*check the network") as caught:
        fetch_mnist(tmp_path, [NOWHERE])
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "mnist").iterdir()) == []
