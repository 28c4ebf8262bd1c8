"""Progress on the terminal: one line a step, rewritten in place where a person watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_begin = time.monotonic()


def elapsed() -> float:
    """Seconds since the demo began."""
    return time.monotonic() - _begin


def say(text: str) -> None:
    """A line with the time since the beginning."""
    print(f"[{elapsed():6.1f} s] {text}", flush=True)


class Step:
    """A line that changes while a long step runs."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._live = sys.stdout.isatty()
        self._last = ""

    def update(self, text: str) -> None:
        """Show how far the step is: in place on a terminal, else only when the text differs."""
        if text == self._last:
            return
        self._last = text
        line = f"[{elapsed():6.1f} s] {self.title}: {text}"
        print(f"\r\x1b[K{line}" if self._live else line, end="" if self._live else "\n", flush=True)

    def done(self, text: str) -> None:
        """The step's last words."""
        print("\r\x1b[K" if self._live else "", end="")
        say(f"{self.title}: {text}")


@contextmanager
def step(title: str) -> Iterator[Step]:
    """A step; its duration is printed at the end unless it said something itself."""
    begin = time.monotonic()
    current = Step(title)
    say(f"{title} …")
    yield current
    current.done(f"done in {time.monotonic() - begin:.1f} s")
