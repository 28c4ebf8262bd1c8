"""Progress lines on standard error, each with the seconds since the start."""

from __future__ import annotations

import sys
import time
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
