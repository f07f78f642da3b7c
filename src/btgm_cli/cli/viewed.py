"""`target.views` as it is typed: the criteria that the views name make a sum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from btgm_cli.cli.config import compose_config
from btgm_cli.cli.settings import unknown
from btgm_cli.cli.tree import choices, own_folders
from btgm_cli.core.errors import SettingError
from btgm_cli.core.target import Target
from btgm_cli.core.views import SETTING

SUM = "criterion=views"


def with_criteria(settings: Sequence[str]) -> list[str]:
    """The settings, with the criteria that the views name unless a criterion is given.

    Views beside an experiment whose criterion has terms are on these.

    Args:
        settings: as typed.

    Raises:
        SettingError: a view that tells nothing, or names no criterion.
    """
    found = list(settings)
    typed = [item for item in settings if item.startswith(f"{SETTING}=")]
    chosen = [item for item in settings if item.startswith("criterion=")]
    if not typed or chosen not in ([], [SUM]) or (not chosen and _on_terms(settings)):
        return found
    try:
        statements = OverridesParser.create().parse_override(typed[-1]).value()
    except HydraException:  # which composing it will tell
        return found
    if not isinstance(statements, list):
        return found
    known = dict.fromkeys(choices("criterion"))
    for folder in own_folders():
        known |= dict.fromkeys(choices("criterion", Path(folder)))
    found += [SUM] * (not chosen)
    for view in Target(views=[str(statement) for statement in statements]).asked:
        if view.of not in known:
            raise SettingError(SETTING, view.text, unknown(view.of, known, "unknown criterion"))
        choice = f"+criterion@criterion.terms.{view.of}={view.of}"
        if choice not in found:
            found += [choice, f"+criterion.weights.{view.of}=1.0"]
    return found


def _on_terms(settings: Sequence[str]) -> bool:
    """Has the criterion that an experiment chooses terms, which views are on?"""
    experiments = [item for item in settings if item.startswith("experiment=")]
    try:
        return bool(experiments) and "terms" in compose_config("run", experiments).criterion
    except SettingError:  # which composing all of it will tell
        return False
