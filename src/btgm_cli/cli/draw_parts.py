"""Draws on their way to their file, in parts, so that a kill costs one part and memory holds one.

They lie in a folder beside the file until all are there: `draws.npz.parts/` for `draws.npz`.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.store.files import remove_leftovers, replacing, write_json
from btgm_cli.store.lock import locked
from btgm_cli.store.manifest import first_difference
from btgm_cli.tuned.correction import FIELDS, Draws, joined

ABOUT = "about.json"
F_EVALS = "f_evals"

POPULATION = "population"
"""A further field of draws that are not independent: which population each is from."""


SHARDS = "must be range(N) with -m, for all of N shards, or one as K/N, such as 0/16"


@dataclass(frozen=True)
class Shard:
    """One of so many equal shares of a draw.

    Args:
        index: from 0.
        count: of all shards.
    """

    index: int = 0
    count: int = 1

    @classmethod
    def named(cls, text: str) -> Shard:
        """That of `K/N`.

        Raises:
            SettingError: it is none.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or int(found[1]) >= int(found[2]):
            raise SettingError("shard", text, SHARDS)
        return cls(int(found[1]), int(found[2]))

    def of(self, path: Path) -> Path:
        """Its own file, where the whole draw's would be `path`."""
        if self.count == 1:
            return path
        return path.with_stem(f"{path.stem}.{self.index:05d}-of-{self.count:05d}")

    def chosen(self, parts: int) -> range:
        """Its own among the parts of the whole draw."""
        return range(self.index * parts // self.count, (self.index + 1) * parts // self.count)


WHOLE = Shard()


class DrawParts:
    """The parts of the draws that a file is to hold.

    Args:
        path: the file.
        sizes: draws in each part.
    """

    def __init__(self, path: Path, sizes: Sequence[int]) -> None:
        self.folder = path.with_name(f"{path.name}.parts")
        self.sizes = sizes
        self.files = [self.folder / f"{index:05d}.npz" for index in range(len(sizes))]

    @property
    def are_there(self) -> bool:
        """Has a call begun that did not end?"""
        return (self.folder / ABOUT).is_file()

    @contextmanager
    def held(self, about: dict[str, Any]) -> Iterator[None]:
        """Hold the folder as one of these draws; removed behind a block that succeeds.

        Args:
            about: all that the draws depend on, as plain data.

        Raises:
            SettingError: another process holds it, or it has parts of other draws.
        """
        about = json.loads(json.dumps(about))
        with locked(self.folder, "out"):
            remove_leftovers(self.folder)
            self._require_same(about)
            write_json(self.folder / ABOUT, about)
            yield
        shutil.rmtree(self.folder)

    def remove(self) -> None:
        """Remove the parts of a call that left all its files, unless it is still at it.

        Raises:
            SettingError: another process holds them.
        """
        with locked(self.folder, "out"):
            pass
        shutil.rmtree(self.folder)

    def is_whole(self, index: int) -> bool:
        """Is this part there, with every byte as it was written?"""
        with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(self.files[index]) as archive:
            return archive.testzip() is None
        return False

    def write(
        self,
        index: int,
        blocks: Sequence[Draws],
        f_evals: int,
        about: Mapping[str, float] | None = None,
        population: Tensor | None = None,
    ) -> None:
        """Keep a part, the evaluations of f that it took, and further figures by their names.

        Where the draws are of populations, the number of each draw's, shape (n,), is kept too.
        """
        draws = joined(blocks)
        arrays = {name: getattr(draws, name).cpu().numpy() for name in FIELDS}
        if population is not None:
            arrays[POPULATION] = population.to(torch.int8).cpu().numpy()
        with replacing(self.files[index]) as temporary:
            figures = {F_EVALS: f_evals, **(about or {})}
            arrays |= {name: np.array(value) for name, value in figures.items()}
            np.savez(temporary, allow_pickle=False, **arrays)

    @property
    def f_evals(self) -> int:
        """Evaluations of f behind all parts."""
        return sum(int(read_part(file, F_EVALS)) for file in self.files)

    def draws(self, index: int, device: torch.device | str = "cpu") -> Draws:
        """The draws of a part."""
        arrays = (read_part(self.files[index], name) for name in FIELDS)
        return Draws(*(torch.from_numpy(array).to(device) for array in arrays))

    def about(self, index: int) -> dict[str, float]:
        """The figures of a part, by their names."""
        with np.load(self.files[index]) as arrays:
            fields = [*FIELDS, POPULATION]
            return {name: arrays[name].item() for name in arrays.files if name not in fields}

    def _require_same(self, about: dict[str, Any]) -> None:
        """Refuse a folder with parts of other draws."""
        if not self.are_there:
            return
        try:
            own = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
            found = first_difference(about, own)
        except (OSError, ValueError, AttributeError):
            found = (ABOUT, None, "damaged")
        if found:
            name, value, other = found
            expected = f"has parts of other draws ({name}={other!r}, not {value!r}); "
            expected += "go on with those, choose another with out=FILE, or remove the folder"
            raise SettingError("out", str(self.folder), expected)


def fields_of(file: Path) -> list[str]:
    """The fields that a part has, one value or vector a draw."""
    with np.load(file) as arrays:
        return [*FIELDS, *([POPULATION] if POPULATION in arrays.files else [])]


def read_part(file: Path, name: str) -> np.ndarray:
    """One field of a part."""
    with np.load(file) as arrays:
        array: np.ndarray = arrays[name]
    return array
