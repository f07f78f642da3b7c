"""How many CPU threads torch computes with."""

from __future__ import annotations

import os

import torch

from btgm_cli.core.errors import SettingError

MOST = 4
"""Threads for each CPU: more are a slip of the keyboard, and torch would crash on many."""


def require_threads(n: int | None) -> None:
    """Refuse an absurd number of threads.

    Raises:
        SettingError: names the largest.
    """
    most = MOST * (os.cpu_count() or 1)
    if n is not None and not 1 <= n <= most:
        raise SettingError("threads", n, f"must be from 1 to {most} on this machine")


def chosen_threads(asked: int | None) -> int:
    """The threads to compute with: those asked for, else torch's choice, one for each core.

    Waiting threads sleep (see `cli.main`). Where other work keeps the cores busy, two were still
    1.1 to 2.7 times as slow as one, against 4 to 58 times when they spin. There is no better fixed
    choice: a step of the default run on two cores, of which others used 1.3, took 43 ms with one
    thread and 77 ms with two (medians of 12 rounds, in turn); with one more busy process beside
    them, where two threads get more of the scheduler, 90 ms and 51 ms.
    """
    require_threads(asked)
    return asked or torch.get_num_threads()
