"""Faults in code of a user's own, told in one line with the place where they lie."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import shorten

from btgm_cli.core.errors import BtgmError, SettingError

LONGEST = 300
"""Of what an exception says, in characters: torch lists all that it could have been given."""

_INSTALLED = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]

_OTHERS = tuple(
    str(Path(path).resolve()) for path in [*_INSTALLED, str(Path(__file__).parents[1])]
)
"""Where this package, Python and what is installed lie: a user's own code is elsewhere."""

_FULL = ("allocate memory", "not enough memory", "out of memory", "invalid buffer size")
"""How torch says that memory is not enough."""


@contextmanager
def blaming(setting: str, value: object, doing: str) -> Iterator[None]:
    """Tell any fault of the block as one of this setting; `sys.exit` in it is one too.

    Args:
        setting: that named the code which the block calls.
        value: what it is called.
        doing: what does not work, such as `decode fails`.

    Raises:
        SettingError: the block raised anything but an error of ours or an interrupt.
    """
    try:
        yield
    except BtgmError:
        raise
    except (Exception, SystemExit) as error:
        raise SettingError(setting, value, f"{doing} ({told(error)})") from error


def told(error: BaseException) -> str:
    """An exception in one line: its kind, its text, and the user's own line if there is one."""
    text = shorten(str(error), LONGEST, placeholder=" …")
    kind = type(error).__name__
    place = _place(error)
    return (f"{kind}: {text}" if text else kind) + (f", {place}" if place else "")


def from_outside(error: BaseException) -> str:
    """What to tell of an exception that is no fault of this package's; empty where it is one."""
    if is_full(error):
        return f"memory was not enough ({type(error).__name__}); ask for fewer draws or less width"
    if isinstance(error, OSError):
        return shorten(str(error), LONGEST, placeholder=" …")
    return told(error) if _place(error) else ""


def is_full(error: BaseException) -> bool:
    """Does an exception say that memory was not enough?"""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _FULL)


def name_of(thing: object) -> str:
    """What a user calls a class, a function or an object, also within a `functools.partial`."""
    while isinstance(thing, partial):
        thing = thing.func
    return str(getattr(thing, "__name__", type(thing).__name__))


def is_installed(path: str) -> bool:
    """Does a file come with this package, Python or anything installed?"""
    return str(Path(path).resolve()).startswith(_OTHERS)


def _place(error: BaseException) -> str:
    """File and line of the innermost frame in the user's own code; empty where there is none."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        path = frame.f_code.co_filename
        if Path(path).is_file() and not is_installed(path):
            return f"{_short(Path(path))} line {line}"
    return ""


def _short(path: Path) -> Path:
    """Relative to the working directory, if it lies there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
