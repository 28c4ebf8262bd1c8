"""The real operator (`python -m tidemill.runtime`) as a process of this machine, with what it costs."""

from __future__ import annotations

import os
import re
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from tests.bench.scale.metrics import Reading, parse
from tests.glue.process import Operator

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """VmRSS, or VmHWM, which is the peak, in MB of 2^20 bytes."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise ProcessLookupError(f"process {pid} has ended")
    return round(int(found[1]) / 1024, 1)


@dataclass(frozen=True, slots=True)
class Cost:
    """What an operator has used up to a moment."""

    at: float
    cpu: float
    reading: Reading


class OperatorProcess(Operator):
    """`OperatorProcess("--flag", "value", config=…, kubeconfig=…, log=…)` runs until `stop` (SIGTERM) or `kill`."""

    def __init__(self, *flags: str, kubeconfig: Path, log: Path, config: Path | None = None) -> None:
        """`config` is a file of settings, for instance the chart's; flags win over it."""
        given = ("--config", str(config)) if config else ()
        self.started = time.monotonic()
        super().__init__(
            *given, "--log-level", "warning", *flags, log=log, kubeconfig=str(kubeconfig), module="tidemill.runtime"
        )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def reading(self) -> Reading:
        """All metrics now. Every question costs the operator a little: ask seldom under load."""
        self.alive()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            return parse(answer.read().decode())

    def cost(self) -> Cost:
        """What it has used until now."""
        reading = self.reading()
        return Cost(at=time.monotonic(), cpu=cpu_seconds(self.pid), reading=reading)

    def memory(self) -> dict[str, float]:
        """RSS now, and its peak since the start."""
        return {"rssMb": memory_mb(self.pid), "peakMb": memory_mb(self.pid, "VmHWM")}

    def until_synced(self, seconds: float = 300) -> float:
        """Wait until every kind was listed; seconds since the process was started."""
        return self._until(self.ready, "synced", seconds, pause=0.05)

    def until_first_pass(self, seconds: float = 300) -> float:
        """Wait until everything was looked at once; seconds since the process was started."""
        return self._until(lambda: self.metric("tidemill_first_pass_seconds") > 0, "first pass", seconds, pause=0.25)

    def _until(self, check: object, what: str, seconds: float, *, pause: float) -> float:
        assert callable(check)
        while not check():
            self.alive()
            if time.monotonic() - self.started > seconds:
                raise TimeoutError(f"{what}: not within {seconds:.0f} s ({self.log})")
            time.sleep(pause)
        return round(time.monotonic() - self.started, 2)
