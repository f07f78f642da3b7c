"""MNIST: where its files lie, reading them with every check, fetching them from a mirror."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pooch.downloaders import HTTPDownloader
from torch import Tensor

from btgm_cli.core.errors import DataError
from btgm_cli.store.data_dir import DATA_DIR_VARIABLE, resolve_data_dir
from btgm_cli.store.files import replacing, require_writable

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
"""The two addresses of `torchvision.datasets.MNIST.mirrors`, the one that answers today first."""


@dataclass(frozen=True)
class IdxFile:
    """What one MNIST file must hold: the shape of its array and the MD5 of its plain bytes.

    The checksum is taken after decompression, because mirrors compress the same bytes differently.
    """

    name: str
    shape: tuple[int, ...]
    md5: str


MNIST_FILES = {
    "train_images": IdxFile(
        "train-images-idx3-ubyte.gz", (60_000, 28, 28), "6bbc9ace898e44ae57da46a324031adb"
    ),
    "train_labels": IdxFile(
        "train-labels-idx1-ubyte.gz", (60_000,), "a25bea736e30d166cdddb491f175f624"
    ),
    "test_images": IdxFile(
        "t10k-images-idx3-ubyte.gz", (10_000, 28, 28), "2646ac647ad5339dbf082846283269ea"
    ),
    "test_labels": IdxFile(
        "t10k-labels-idx1-ubyte.gz", (10_000,), "27ae3e4e09519cfbb04c329615203637"
    ),
}


@dataclass(frozen=True)
class Mnist:
    """The digits: images (n, 1, 28, 28), float32 in [0, 1]; labels (n,), int64, 0 to 9."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_mnist(data_dir: str | Path | None = None) -> Mnist:
    """Read the four files of `<data_dir>/mnist`, each checked against its published checksum.

    Raises:
        DataError: A file is missing (with the command that fetches it) or not what it should be.
    """
    folder = resolve_data_dir(data_dir) / "mnist"
    arrays = {key: _read_member(folder, spec) for key, spec in MNIST_FILES.items()}
    return Mnist(
        train_images=_as_images(arrays["train_images"]),
        train_labels=torch.from_numpy(arrays["train_labels"].astype(np.int64)),
        test_images=_as_images(arrays["test_images"]),
        test_labels=torch.from_numpy(arrays["test_labels"].astype(np.int64)),
    )


def fetch_mnist(
    data_dir: str | Path | None = None, mirrors: Sequence[str] = MNIST_MIRRORS
) -> Path:
    """Download what is missing of MNIST into `<data_dir>/mnist`, trying the mirrors in turn.

    A file that is there and sound is kept; one that is damaged is fetched again. Each arrives
    whole or not at all.

    Returns:
        The folder of the four files.

    Raises:
        DataError: No mirror gave a sound file.
    """
    folder = resolve_data_dir(data_dir) / "mnist"
    wanted = [spec for spec in MNIST_FILES.values() if not _is_sound(folder / spec.name, spec)]
    if wanted:
        require_writable("data_dir", folder)
    for spec in wanted:
        _fetch_file(folder, spec, mirrors)
    return folder


@dataclass(frozen=True)
class MnistFiles:
    """`btgm data fetch mnist`.

    Args:
        data_dir: see `fetch_mnist`.
    """

    data_dir: str | None = None

    def fetch(self) -> list[str]:
        """Download what is missing; where it is."""
        return [f"MNIST is in {fetch_mnist(self.data_dir)}"]


def read_idx(path: Path, shape: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of unsigned bytes (http://yann.lecun.com/exdb/mnist/).

    Args:
        path: The `.gz` file.
        shape: The shape it must have; None takes the shape that the file states.

    Raises:
        DataError: The file is missing, truncated, corrupt, of another kind or another shape.
    """
    return _parse_idx(path, _decompress(path), shape)


def _read_member(folder: Path, spec: IdxFile) -> NDArray[np.uint8]:
    path = folder / spec.name
    if not path.is_file():
        raise DataError(
            path,
            "not found; run `btgm data fetch mnist`, or set data_dir (or "
            f"{DATA_DIR_VARIABLE}) to the folder that holds mnist/",
        )
    content = _decompress(path)
    array = _parse_idx(path, content, spec.shape)
    _check_md5(path, content, spec.md5)
    return array


def _decompress(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except EOFError as error:
        raise DataError(path, "truncated: the gzip stream ends early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(path, f"corrupt: not a sound gzip file ({error})") from error
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})") from error


def _parse_idx(
    path: Path, content: bytes, shape: tuple[int, ...] | None = None
) -> NDArray[np.uint8]:
    """The array of an IDX file: 2 zero bytes, type 8, rank, sizes (big-endian), then the bytes."""
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(path, "not an IDX file of unsigned bytes (wrong magic number)")
    rank = content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(path, "truncated: the IDX header ends early")
    found = tuple(int(size) for size in np.frombuffer(content, ">u4", rank, 4))
    if shape is not None and found != shape:
        raise DataError(path, f"mislabelled: holds an array of shape {found}, expected {shape}")
    if len(content) - start != int(np.prod(found)):
        raise DataError(
            path, f"truncated: {len(content) - start} bytes of data for an array of shape {found}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(found)


def _check_md5(path: Path, content: bytes, md5: str) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(path, f"altered: MD5 of the uncompressed bytes is {found}, expected {md5}")


def _as_images(array: NDArray[np.uint8]) -> Tensor:
    """Pixels 0 to 255, shape (n, 28, 28), as floats in [0, 1], shape (n, 1, 28, 28)."""
    return torch.from_numpy(array.astype(np.float32) / 255.0).unsqueeze(1)


def _is_sound(path: Path, spec: IdxFile) -> bool:
    try:
        _check_md5(path, _decompress(path), spec.md5)
    except DataError:
        return False
    return True


def _fetch_file(folder: Path, spec: IdxFile, mirrors: Sequence[str]) -> None:
    faults = []
    for mirror in mirrors:
        try:
            _download(mirror + spec.name, folder / spec.name, spec)
        except (DataError, OSError) as error:
            faults.append(f"{mirror} ({type(error).__name__})")
        else:
            return
    raise DataError(
        spec.name,
        f"no mirror gave a sound file: {', '.join(faults) or 'none was named'}; check the "
        "network, or copy the file there by hand and point data_dir at its folder",
    )


def _download(url: str, path: Path, spec: IdxFile) -> None:
    """Fetch `url` to `path` with a progress bar; nothing is left behind unless it is sound."""
    with replacing(path) as temporary:
        HTTPDownloader(progressbar=True, timeout=30)(url, str(temporary), None)
        content = _decompress(temporary)
        _check_md5(path, content, spec.md5)
