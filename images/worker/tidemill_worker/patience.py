"""Waiting for the store where giving up costs more than waiting: what came before it in the pod would be done again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tidemill_worker.context import Context
from tidemill_worker.errors import StoreUnavailable

PATIENCE = 24 * 3600.0
"""Seconds after which a store that does not answer is given up. A Job's activeDeadlineSeconds ends it sooner."""
FIRST, LONGEST = 2.0, 60.0
"""Seconds between two tries: twice as many after each."""

T = TypeVar("T")


def insist(context: Context, work: Callable[[], T], *, patience: float = PATIENCE, first: float = FIRST) -> T:
    """Do the work, again and again while the store does not answer."""
    end, delay = time.monotonic() + patience, first
    while True:
        try:
            return work()
        except StoreUnavailable as error:
            left = end - time.monotonic()
            if left <= 0:
                raise
            context.tracker.phase("WaitingForStore", context.tracker.current.fraction, error.message)
        context.stop.event.wait(min(delay, left))
        context.stop.check()
        delay = min(LONGEST, 2 * delay)
