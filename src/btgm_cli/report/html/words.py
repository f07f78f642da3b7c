"""How a page says verdicts and numbers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from btgm_cli.core.results import Status
from btgm_cli.report.markdown import signed
from btgm_cli.store.manifest import Manifest

MEANINGS = {
    Status.OK: "the tuned model may stand for the exact tilt",
    Status.OK_CORRECTED: "the tuned model may not stand for the exact tilt, "
    "but its corrected draws may",
    Status.UNDERTRAINED: "the model is off, or the search did not end, or the training broke",
    Status.MODE_DROPPED: "the model is right where it is, and a part of the tilt is missing",
    Status.INFEASIBLE: "no tilt meets the target",
    Status.UNRELIABLE_REFERENCE: "the exact tilt is not known well enough to tell",
    Status.UNRELIABLE_CRITERION: "the criterion is an estimate that is off",
}
"""What a verdict says, in words."""

GOOD = (Status.OK, Status.OK_CORRECTED)

WAYS = {
    "tuned": "the tuned model's draws",
    "tuned + corrected": "tuned, corrected",
    "rejection": "rejection from p",
    "smc": "tempered SMC",
}


def meaning(status: str) -> str:
    """What a status says, in words; empty for what is no verdict."""
    return MEANINGS.get(Status(status), "") if status in list(Status) else ""


def tone(status: str) -> str:
    """The look of a status: good, bad, or none where it is no verdict."""
    if status not in list(Status):
        return "none"
    return "good" if status in GOOD else "bad"


def number(value: float, digits: int = 3) -> str:
    """A number with so many digits that count; a dash where there is none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    places = digits if not value else digits - 1 - math.floor(math.log10(abs(value)))
    if places < 0:
        return f"{value:,.0f}".replace("-", "−")
    return signed(value, min(places, 4))


def with_error(value: float, se: float) -> str:
    """A number with its standard error, to the error's second digit."""
    if not (math.isfinite(value) and math.isfinite(se) and se > 0):
        return number(value)
    places = min(max(1 - math.floor(math.log10(se)), 0), 3)
    if se < 0.5 * 10**-places:
        return signed(value, places)
    return f"{signed(value, places)} ± {se:.{places}f}"


def counted(verdicts: Mapping[str, int]) -> str:
    """How often each verdict came out."""
    if len(verdicts) == 1 and sum(verdicts.values()) == 1:
        return next(iter(verdicts))
    return ", ".join(f"{n} {status}" for status, n in verdicts.items())


def changes(remedy: str, manifest: Manifest) -> list[tuple[str, str, str]]:
    """What a remedy's command sets anew: names, values, and those of the run, "" where unknown."""
    try:
        typed = shlex.split(remedy) if remedy.startswith("btgm run ") else []
    except ValueError:  # no line that a shell would take
        return []
    new = [item for item in typed[2:] if item not in manifest.overrides]
    return [(*_parts(item), _value(manifest.settings, _parts(item)[0])) for item in new]


def _value(settings: Mapping[str, Any], name: str) -> str:
    node: Any = settings
    for part in name.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return "" if node is None or isinstance(node, Mapping) else str(node)


def command(manifest: Manifest) -> str:
    """The line that asks for this run."""
    return shlex.join(["btgm", "run", *manifest.overrides])


def sweep_command(manifests: Sequence[Manifest]) -> str:
    """The line that asks for these jobs in this order; empty where one `-m` cannot."""
    split = [dict(_parts(item) for item in one.overrides) for one in manifests]
    if not split or any(list(one) != list(split[0]) for one in split):
        return ""
    values = {name: list(dict.fromkeys(one[name] for one in split)) for name in split[0]}
    jobs: list[dict[str, str]] = [{}]
    for name, given in values.items():
        jobs = [job | {name: value} for job in jobs for value in given]
    if jobs != split:
        return ""
    return shlex.join(["btgm", "run", "-m", *(f"{k}={','.join(v)}" for k, v in values.items())])


def _parts(override: str) -> tuple[str, str]:
    name, _, value = override.partition("=")
    return name, value
