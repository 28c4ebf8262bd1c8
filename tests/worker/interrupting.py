"""Waiting for a training to have come so far, to interrupt it there."""

from __future__ import annotations

import subprocess
import time

from .lab import Lab


def wait_for_epoch(lab: Lab, run: str, epoch: int, process: subprocess.Popen[bytes]) -> None:
    """Until the run's newest checkpoint is of this epoch; fails when the training ends before."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if f"runs/{run}/uid/checkpoints/latest.json" in lab.list(f"runs/{run}/"):
            latest = lab.get_json(f"{lab.root}/runs/{run}/uid/checkpoints/latest.json")
            if latest["epoch"] >= epoch:
                return
        time.sleep(0.01)
    assert process.poll() is None, "the training ended before it could be interrupted"
    raise AssertionError("no checkpoint in 90 seconds")
