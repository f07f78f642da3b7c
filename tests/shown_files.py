"""The files that a page shows: blocks of code whose first line is a comment with their name."""

import re
from pathlib import Path

SHOWN = re.compile(r"^```\w+\n# (\S+\.\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def lay_files(page: Path, folder: Path) -> None:
    """Write them into a folder, as a reader would."""
    for name, content in SHOWN.findall(page.read_text()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
