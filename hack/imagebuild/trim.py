"""Remove what an image does not need at run time: `trim.py TRIM.txt FOLDER`. Used by hack/images and the Dockerfiles.

TRIM.txt has one glob pattern a line, below FOLDER; a line that begins with "!" keeps what an earlier line would remove.
What pip and uv write for themselves, which names the machine, is removed always.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ALWAYS = ("bin", ".lock", "*.dist-info/RECORD", "*.dist-info/uv_cache.json", "*.dist-info/direct_url.json")


def trim(patterns: list[str], folder: Path) -> None:
    """Apply the patterns in their order, then remove what is left of them."""
    doomed: set[Path] = set()
    for pattern in (*ALWAYS, *patterns):
        found = set(folder.glob(pattern.removeprefix("!").rstrip("/")))
        if pattern.endswith("/"):
            found = {path for path in found if path.is_dir()}
        doomed = doomed - found if pattern.startswith("!") else doomed | found
    for path in sorted(doomed, reverse=True):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def read(file: Path) -> list[str]:
    """The patterns of a file."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


if __name__ == "__main__":
    trim(read(Path(sys.argv[1])), Path(sys.argv[2]))
