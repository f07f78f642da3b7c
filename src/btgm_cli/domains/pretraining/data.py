"""What a data set is to the command that brings it: `btgm data fetch` or `btgm data build`.

The `_target_` of `conf/data/NAME.yaml` names a class with one of the two; the other entries of the
YAML are its settings, as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class Fetched(Protocol):
    """Data to be downloaded."""

    def fetch(self) -> Iterable[str]:
        """Bring the data into place.

        Returns:
            What to tell, line by line.
        """
        ...


@runtime_checkable
class Built(Protocol):
    """Data to be made from files that the user has."""

    def build(self, files: Sequence[Path]) -> Iterable[str]:
        """Make the data.

        Returns:
            What to tell, line by line.
        """
        ...
