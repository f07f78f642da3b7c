"""A process of its own for a function of a user's: it reads JSON lines and writes one for each.

`python worker.py module:function folder` speaks as an external command must (`commands`), and
imports nothing of this package, so that it starts as fast as the user's module does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np


def units(function: Callable[..., Any], theta: dict[str, float], n: int, seed: int) -> Any:
    """n units of data at one θ: at once where the function takes n, else one after the other.

    Args:
        function: of (theta, n, rng), or of (theta, rng) for one unit.
        theta: parameters by name.
        n: units.
        seed: of `rng`, NumPy's generator.
    """
    rng = np.random.default_rng(seed)
    if takes_n(function):
        return _plain(function(dict(theta), n, rng))
    return np.stack([np.atleast_1d(_plain(function(dict(theta), rng))) for _ in range(n)])


def takes_n(function: Callable[..., Any]) -> bool:
    """Does a function make n units in one call?"""
    return "n" in signature(function).parameters


def found(text: str) -> Callable[..., Any]:
    """The function that `module:function` names."""
    module, _, name = text.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def _plain(x: Any) -> Any:
    """An array of what may be a tensor of torch."""
    return x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)


def main(text: str, *folders: str) -> None:
    """Answer each line of the standard input, until it ends."""
    sys.path.extend(folders)
    # What the user's code prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    function = found(text)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            x = units(function, asked["theta"], asked["n"], asked["seed"])
            answer = {"x": np.asarray(x, dtype=float).tolist()}
        except Exception as error:  # a user's code may raise anything
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
