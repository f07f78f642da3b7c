"""What the user can mend: errors whose text is one line."""

from __future__ import annotations

from pathlib import Path


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
