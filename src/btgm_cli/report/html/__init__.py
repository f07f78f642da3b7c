"""`report.html`: a run or a sweep as one page that needs nothing beside it."""

from __future__ import annotations

from btgm_cli.report.html.one_run import run_page, write_run_page
from btgm_cli.report.html.one_sweep import sweep_page, write_sweep_page

__all__ = ["run_page", "sweep_page", "write_run_page", "write_sweep_page"]
