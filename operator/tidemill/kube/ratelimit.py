"""The client's own rate limit: a token bucket, so that an operator never asks more of an API server than it was given.

First come, first served. No caller can take all: each worker waits for its own request, and the queue gives the workers to
the namespaces in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_ROUNDING = 1e-6
"""A shorter wait is no wait, but the clock's last digits."""


class TokenBucket:
    """`burst` requests at once, `qps` a second in the long run. Pure: nothing sleeps here.

    Kept as the one moment at which the bucket would be full again, instead of a count and a time.
    """

    def __init__(self, qps: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / qps
        self._tolerance = (burst - 1) * self._interval
        self._clock = clock
        self._full_at = clock()

    def reserve(self) -> float:
        """Take one token; how many seconds from now it may be used."""
        now = self._clock()
        full_at = max(self._full_at, now)
        self._full_at = full_at + self._interval
        wait = full_at - self._tolerance - now
        return wait if wait > _ROUNDING else 0.0

    def give_back(self) -> None:
        """A reserved token was not used."""
        self._full_at -= self._interval


class RateLimiter:
    """Holds requests until the bucket has a token for them."""

    @classmethod
    def of(cls, qps: float, burst: int, *, waited: Callable[[float], None]) -> RateLimiter | None:
        """One for these limits; None when qps is 0, which means no limit."""
        return cls(TokenBucket(qps, burst), waited=waited) if qps else None

    def __init__(
        self,
        bucket: TokenBucket,
        *,
        waited: Callable[[float], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._bucket = bucket
        self._waited = waited
        self._sleep = sleep

    async def wait(self) -> None:
        """Return when the request may be sent. `waited` hears of those that had to wait."""
        seconds = self._bucket.reserve()
        if not seconds:
            return
        try:
            await self._sleep(seconds)
        except asyncio.CancelledError:
            self._bucket.give_back()
            raise
        if self._waited is not None:
            self._waited(seconds)
