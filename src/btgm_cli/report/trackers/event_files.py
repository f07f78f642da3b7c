"""`tracker=tensorboard`: a run as TensorBoard's event files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from matplotlib.image import imread

from btgm_cli.report.markdown import table
from btgm_cli.report.trackers.tracked import require_library, tracked

OWN = "tensorboard"
"""The folder in a run's directory."""


@dataclass(frozen=True)
class EventFiles:
    """A `core.contracts.Tracker`.

    Args:
        folder: where to; None for `tensorboard/` in the run's directory. In another folder each
            run has one of its directory's name.
    """

    folder: str | None = None

    def check(self) -> None:
        """Refuse to begin without the library.

        Raises:
            SettingError: TensorBoard is not installed.
        """
        require_library("tensorboard", "tensorboard")

    def send(self, path: Path) -> str:
        """Write the rows as scalars by their number, β among them, the pictures and the words.

        Returns:
            The folder.
        """
        run = tracked(path)
        place = Path(self.folder, path.resolve().name) if self.folder else path / OWN
        for before in place.glob("events.out.tfevents.*"):  # of an earlier sitting
            before.unlink()
        writer: Any = import_module("torch.utils.tensorboard").SummaryWriter(str(place))
        with writer:
            for step, row in enumerate(run.rows):
                for name, value in row.items():
                    writer.add_scalar(name, value, step)
            for picture in run.pictures:
                writer.add_image(picture.stem, imread(picture)[..., :3], dataformats="HWC")
            for heading, words in (("verdict", run.words), ("settings", run.settings)):
                text = table([heading, ""], [[f"`{name}`", f"`{words[name]}`"] for name in words])
                writer.add_text(heading, text)
        return str(place)
