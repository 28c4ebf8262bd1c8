"""The fault table: what every fault counted, in one JSON file; `python -m tests.faults.report` prints it as Markdown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tidemill"
COLUMNS = {
    "fault": "fault",
    "objects": "objects",
    "times": "times",
    "duplicates": "duplicate children",
    "orphans": "orphans",
    "lost": "transitions lost",
    "converged": "converged after, s",
    "idle": "idle after, s",
    "restartWrites": "writes of a fresh operator",
    "note": "",
}


def path() -> Path:
    """TIDEMILL_FAULT_REPORT, or a file in the cache."""
    cache = Path(os.environ.get("TIDEMILL_CACHE", CACHE))
    return Path(os.environ.get("TIDEMILL_FAULT_REPORT", cache / "faults.json"))


def record(fault: str, **counts: Any) -> None:
    """Keep what a fault counted, in place of what it counted the last time."""
    file = path()
    known = json.loads(file.read_text()) if file.exists() else {}
    known[fault] = counts
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known, indent=2) + "\n")


def table() -> str:
    """All recorded faults."""
    known: dict[str, dict[str, Any]] = json.loads(path().read_text())
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + " --- |" * len(COLUMNS)]
    for fault, counts in known.items():
        cells = [str({"fault": fault, **counts}.get(column, "")) for column in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
