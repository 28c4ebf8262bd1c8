"""How long the machine holds up a process that does nothing: what latencies beside it cannot be blamed for.

`python -m tests.bench.scale.heartbeat` sleeps ten milliseconds again and again until SIGTERM, then prints as JSON how much
later than that it woke up.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.bench.scale.figures import spread
from tests.e2e.apiserver import ROOT

BEAT = 0.01
STALL = 0.1


@contextmanager
def heartbeat() -> Iterator[dict[str, Any]]:
    """Beats while the context lasts; the dictionary is filled when it ends."""
    found: dict[str, Any] = {}
    command = [sys.executable, "-m", "tests.bench.scale.heartbeat"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield found
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=30)
    found |= json.loads(out)


def main() -> None:
    """Beat until SIGTERM."""
    over: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    late: list[float] = []
    while not over:
        before = time.monotonic()
        time.sleep(BEAT)
        late.append(max(0.0, time.monotonic() - before - BEAT))
    print(json.dumps({**spread(late), "over100Ms": sum(seconds > STALL for seconds in late)}))


if __name__ == "__main__":
    main()
