"""Waiting for another process in short steps, so that SIGTERM is heard in between."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from tidemill_worker.errors import PeersLost

_CONNECT_SECONDS = 5.0


def await_port(host: str, port: int, deadline: float, *, who: str, step: float = 0.5) -> None:
    """Wait until somebody listens. Raises PeersLost after the deadline, a moment of the monotonic clock."""
    while True:
        try:
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise PeersLost(
                    f"{who} cannot be reached at {host}:{port} ({error}): see what keeps its pod from running, and whether a "
                    "NetworkPolicy lets the pods of a run speak to each other"
                ) from error
        time.sleep(step)


def await_true(condition: Callable[[], bool], deadline: float, *, what: str, step: float = 0.05) -> None:
    """Wait until the condition holds. Raises PeersLost, which says what was waited for, after the deadline."""
    while not condition():
        if time.monotonic() > deadline:
            raise PeersLost(f"waited in vain until {what}")
        time.sleep(step)
