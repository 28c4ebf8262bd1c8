"""How a measurement speaks and ends: progress lines with the seconds since the start, errors, and signals."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType
from typing import NoReturn

_begun = time.monotonic()
_who = "peers"


def name(who: str) -> None:
    """Begin every line with this from now on."""
    global _who
    _who = f"peers: {who}"


def say(text: str) -> None:
    """One line."""
    print(f"{_who}: [{time.monotonic() - _begun:5.1f} s] {text}", file=sys.stderr, flush=True)


def fail(text: str) -> NoReturn:
    """End with an error."""
    raise SystemExit(f"{_who}: error: {text}")


def end_once() -> None:
    """Make the first SIGTERM or SIGINT end the process in order, and later ones not disturb that."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        for known in (signal.SIGTERM, signal.SIGINT):
            signal.signal(known, signal.SIG_IGN)
        fail(f"ended by {signal.Signals(number).name}")

    for known in (signal.SIGTERM, signal.SIGINT):
        signal.signal(known, end)
