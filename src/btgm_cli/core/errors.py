"""What the user can mend: errors whose text is one line."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

IN_THE_WAY = "a file is in the way; choose another place"
NOT_ALLOWED = "allow it, or choose another place"
NO_ROOM = "make room there, or choose another place"

REMEDIES = {
    errno.ENOSPC: NO_ROOM,
    errno.EDQUOT: NO_ROOM,
    errno.EFBIG: NO_ROOM,
    errno.EROFS: NOT_ALLOWED,
    errno.EACCES: NOT_ALLOWED,
    errno.EPERM: NOT_ALLOWED,
    errno.ENOTDIR: IN_THE_WAY,
    errno.EISDIR: IN_THE_WAY,
    errno.EEXIST: IN_THE_WAY,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "choose another place",
    errno.ENOENT: "its folder is gone",
    errno.EIO: "check the disk, or choose another place",
}
"""What to do where writing fails, by the system's reason."""


class BtgmError(Exception):
    """Something the user can mend; its text is one line and needs no traceback.

    Examples:
        >>> from btgm_cli import BtgmError, load_model
        >>> try:
        ...     load_model("gauss")
        ... except BtgmError as error:
        ...     print(error)
        model='gauss': unknown (did you mean gaussian?); choose from ...
    """


class SettingError(BtgmError):
    """A setting that cannot be used: names the setting, its value and the choices.

    Examples:
        >>> from btgm_cli import SettingError, Tuning
        >>> try:
        ...     Tuning(steps=0)
        ... except SettingError as error:
        ...     print(error)
        ...     print(error.setting)
        tuning.steps=0: must be a whole number, 1 or more
        tuning.steps
    """

    def __init__(self, setting: str, value: object, expected: str) -> None:
        super().__init__(f"{setting}={value!r}: {expected}")
        self.setting = setting


class DataError(BtgmError):
    """A data file that is missing, damaged or not what its name says."""

    def __init__(self, path: Path | str, fault: str) -> None:
        super().__init__(f"{path}: {fault}")


class WriteError(BtgmError):
    """A file that cannot be written: names the file, the system's reason and what to do.

    Args:
        path: the file.
        code: the system's reason, as in `errno`.
    """

    def __init__(self, path: Path | str, code: int) -> None:
        remedy = REMEDIES.get(code, "choose another place")
        super().__init__(f"{path}: cannot be written ({os.strerror(code)}); {remedy}")
        self.no_room = remedy == NO_ROOM


def reason_of(error: BaseException | None) -> int | None:
    """The system's reason why a file could not be written, where that is behind an error.

    Libraries wrap it: zipfile raises another error while it closes, and what safetensors raises is
    no `OSError` but says `(os error 28)`. Faults of a network have other reasons.
    """
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        found = re.search(r"\(os error (\d+)\)", str(error))
        code = getattr(error, "errno", None) or (int(found[1]) if found else None)
        if code in REMEDIES:
            return code
        error = error.__cause__ or error.__context__
    return None


def in_one_line(error: BaseException) -> str:
    """What an error says, with what those that it passed through added."""
    return "; ".join([str(error), *getattr(error, "__notes__", ())])
