"""Spins of the Ising model from its field, and what a run leaves of them: `spins.npy`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from btgm_cli.core.contracts import DrawSource, GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.memory import require_memory
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.ising.field import IsingField
from btgm_cli.report import save
from btgm_cli.report.style import TITLE, in_house_style, title
from btgm_cli.store.files import npy_bytes, write_bytes
from btgm_cli.store.runs import read_array, read_summary

SPINS = "spins.npy"
SHOWN = 16


@dataclass(frozen=True)
class Spins:
    """An export: how many states of the Ising model.

    Args:
        n: states; 0 for none.
        seed: of the spins given the field.

    Raises:
        SettingError: a negative number.
    """

    n: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n", "seed"):
            if getattr(self, name) < 0:
                raise SettingError(f"spins.{name}", getattr(self, name), "must be 0 or more")

    def check(self, model: GenerativeModel) -> None:
        """Refuse a model that is no field of spins.

        Raises:
            SettingError: it is none.
        """
        if not self.n:
            return
        if not isinstance(model, IsingField):
            raise SettingError("spins.n", self.n, "needs model=ising_field")
        require_memory("spins.n", self.n, 2 * self.n * model.latent_dim)

    def write(self, path: Path, draws: DrawSource) -> str:
        """Write `spins.npy` into a run directory: −1 and 1, int8, of shape (n, L, L).

        Returns:
            Why nothing was written; empty where it was, or nothing is asked for.
        """
        if not self.n:
            return ""
        if draws.beta != 1:
            return f"{SPINS} not written: β is {draws.beta:.4g}, the Ising model has 1"
        if draws.doubt:
            return f"{SPINS} not written: {draws.doubt}"
        x = draws.tilted(self.n)
        generator = derived_generator(self.seed, "spins", device=x.device)
        size = round(x.shape[1] ** 0.5)
        spins = drawn(x, generator).view(-1, size, size).to(torch.int8).cpu().numpy()
        write_bytes(path / SPINS, npy_bytes(spins))
        return ""

    def draw(self, path: Path) -> list[Path]:
        """Draw `spins.png` from the file, where there is one."""
        if not (path / SPINS).is_file():
            return []
        figure = spins_figure(read_array(path / SPINS), title(read_summary(path)))
        return [save(figure, path / "spins.png")]


def drawn(x: Tensor, generator: torch.Generator) -> Tensor:
    """Spins ±1 given the local field x, of the same shape: independent, and exact."""
    uniform = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return torch.where(uniform < torch.sigmoid(2 * x), 1.0, -1.0).to(x)


@in_house_style
def spins_figure(spins: NDArray[np.int8], heading: str) -> Figure:
    """The first states of (n, L, L), up in white and down in black."""
    shown = spins[:SHOWN]
    columns = min(8, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(0.95 * columns, 0.95 * rows + 0.35), layout="constrained")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, state in zip(panels, shown, strict=False):
        axes.imshow(state, cmap="gray", vmin=-1.3, vmax=1.3)
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
    for spare in panels[len(shown) :]:
        spare.remove()
    return figure
