"""`run.log`: what a run did, and how it broke off."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from btgm_cli.cli.signals import Stopped
from btgm_cli.core.errors import BtgmError, WriteError, in_one_line, reason_of

LOG = "run.log"
log = logging.getLogger(__name__)


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Log to `run.log`, how the run broke off among the rest."""
    handler = _opened(path / LOG)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    except WriteError as error:
        error.add_note(f"what was finished is kept, btgm run resume={path} goes on")
        log.error("%s", in_one_line(error))
        raise
    except BtgmError as error:
        log.error("%s", error)
        raise
    except Stopped as stopped:
        log.warning("interrupted")
        stopped.add_note(f"btgm run resume={path} goes on")
        raise
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        with suppress(OSError):
            handler.close()


class _LogFile(logging.FileHandler):
    """A log that a full disk leaves incomplete and no more: what matters is told elsewhere."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Go on."""


def _opened(path: Path) -> _LogFile:
    try:
        handler = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise WriteError(path, reason_of(error) or 0) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    return handler
