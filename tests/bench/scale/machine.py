"""What the bench ran on, in words that explain its figures."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

from tests.glue.process import PYTHON


def describe() -> dict[str, Any]:
    """The machine, now."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    total = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return {
        "cpu": model[1] if model else platform.processor() or "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memoryGiB": round(int(total[1]) / 2**20, 1) if total else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "operatorLibraries": "its own" if sys.executable != PYTHON else "the development environment's",
        "loadBefore": [round(load, 2) for load in os.getloadavg()],
    }
