"""ydata-profiling's page of a parquet file made by profile.py. Runs on an interpreter of its own; prints JSON.

python ydata_report.py FILE minimal|full
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

try:
    import data_profiling as library  # fg-data-profiling, as the package is called since 4.19
except ImportError:
    import ydata_profiling as library


def memory(name: str) -> int:
    """A line of /proc/self/status, MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) >> 10


def main(path: str, how: str) -> int:
    """Read, report, print: the time of the report alone."""
    frame = pd.read_parquet(path)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    report = library.ProfileReport(frame, minimal=how == "minimal", progress_bar=False, pool_size=1)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        report.to_file(page, silent=True)
        found = {
            "report": {"wall": round(time.perf_counter() - wall, 2), "cpu": round(time.process_time() - cpu, 2)},
            "memory": {"before_mib": before, "peak_mib": memory("VmHWM")},
            "bytes": page.stat().st_size,
            "version": library.__version__,
        }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
