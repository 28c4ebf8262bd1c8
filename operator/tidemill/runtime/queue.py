"""The queue: each key once, never two workers on one key, namespaces in turn, failures with growing delays.

Single-threaded asyncio: no locks. Two lanes: changes come before bulk work (the first pass, the periodic pass). Within a
namespace what is new comes before what was looked at before: of a thousand runs submitted at once all begin to train before
their statuses are brought up to date. Every eighth turn is given away, so that what comes second cannot starve.

No namespace has all workers: three quarters of them at most, so that another's change finds one that is free, however slow
the API server's answers to the first are.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Container

from tidemill.reconcile.plan import Key

SECOND_TURN = 8


def most_of_a_namespace(workers: int) -> int:
    """So many of the workers one namespace may have at a time."""
    return max(1, workers - max(1, workers // 4))


class _Share:
    """One namespace's keys: the new ones, and those that were looked at before."""

    __slots__ = ("known", "new", "turn")

    def __init__(self) -> None:
        self.new: deque[Key] = deque()
        self.known: deque[Key] = deque()
        self.turn = 0

    def pop(self) -> Key:
        self.turn += 1
        first, second = (self.known, self.new) if self.turn % SECOND_TURN == 0 else (self.new, self.known)
        return (first or second).popleft()


class _Lane:
    """Keys by namespace; namespaces take turns."""

    def __init__(self) -> None:
        self._namespaces: OrderedDict[str, _Share] = OrderedDict()
        self.size = 0

    def push(self, key: Key, *, new: bool = False) -> None:
        share = self._namespaces.get(key.namespace)
        if share is None:
            share = self._namespaces[key.namespace] = _Share()
        (share.new if new else share.known).append(key)
        self.size += 1

    def pop(self, full: Container[str]) -> Key | None:
        """The next key of a namespace that is not full; None when there is none."""
        namespace = next((name for name in self._namespaces if name not in full), None)
        if namespace is None:
            return None
        share = self._namespaces[namespace]
        key = share.pop()
        if share.new or share.known:
            self._namespaces.move_to_end(namespace)
        else:
            del self._namespaces[namespace]
        self.size -= 1
        return key


class Load:
    """What there is of one kind: keys by state, and how long the longest waiting one has waited."""

    __slots__ = ("delayed", "failing", "oldest", "running", "waiting")

    def __init__(self) -> None:
        self.waiting = self.delayed = self.failing = self.running = 0
        self.oldest = 0.0


class WorkQueue:
    """Deduplicating work queue with delays and backoff."""

    def __init__(
        self,
        *,
        workers: int = 16,
        backoff_base: float = 0.25,
        backoff_cap: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`workers` is how many will take keys; the delays are in seconds."""
        self._most = most_of_a_namespace(workers)
        self._base = backoff_base
        self._cap = backoff_cap
        self._clock = clock
        self._jitter = jitter
        self._urgent, self._bulk = _Lane(), _Lane()
        self._turn = 0
        self._queued: dict[Key, float] = {}
        self._running: set[Key] = set()
        self._busy = Counter[str]()  # workers by namespace
        self._full: set[str] = set()
        self._dirty: dict[Key, bool] = {}
        self._failures: dict[Key, int] = {}
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        """Keys that wait for a worker."""
        return len(self._queued)

    @property
    def delayed(self) -> int:
        """Keys that wait for their time."""
        return len(self._due)

    @property
    def running(self) -> int:
        """Keys that a worker has."""
        return len(self._running)

    @property
    def failing(self) -> int:
        """Keys whose last reconcile failed."""
        return len(self._failures)

    def load(self) -> dict[str, Load]:
        """The load by kind: for metrics, as it looks at every key."""
        now, found = self._clock(), defaultdict[str, Load](Load)
        for key, since in self._queued.items():  # the longest waiting comes first
            load = found[key.kind]
            if not load.waiting:
                load.oldest = max(0.0, now - since)
            load.waiting += 1
        for key in self._due:
            found[key.kind].delayed += 1
        for key in self._failures:
            found[key.kind].failing += 1
        for key in self._running:
            found[key.kind].running += 1
        return found

    def add(self, key: Key, *, bulk: bool = False, new: bool = False) -> None:
        """Reconcile the key as soon as there is a worker; after the present one when it is being reconciled.

        `new`: its object has just been created, so it comes before the rest of its namespace.
        """
        if self._closed or key in self._queued:
            return
        if key in self._running:
            self._dirty[key] = self._dirty.get(key, True) and bulk
            return
        self._queued[key] = self._clock()
        (self._bulk if bulk else self._urgent).push(key, new=new)
        self._wake_one()

    def add_after(self, key: Key, seconds: float) -> None:
        """Reconcile the key after so long, or earlier when it was already due earlier."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if self._closed or self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        if len(self._heap) > 2 * len(self._due) + 1024:  # mostly entries that were moved to an earlier time
            self._heap = [item for item in self._heap if self._due.get(item[2]) == item[0]]
            heapq.heapify(self._heap)
        self._set_timer()

    async def take(self) -> Key | None:
        """The next key; None when the queue was closed. Pair every key with one `done`."""
        while True:
            if self._closed:
                return None
            self.release_due()
            if key := self._pop():
                self._start(key)
                self._due.pop(key, None)  # whatever it was wanted for later is looked at now
                return key
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # pass on the call that this worker will not answer
                raise

    def done(self, key: Key, *, failed: bool = False) -> float:
        """The worker has finished. After a failure the key comes back with a growing delay, which is returned."""
        self._stop(key)
        delay = 0.0
        if failed:
            count = self._failures[key] = self._failures.get(key, 0) + 1
            # Half of the delay is random: keys that failed together do not come back together.
            delay = min(self._cap, self._base * 2 ** min(count - 1, 30)) * (0.5 + self._jitter() / 2)
            self.add_after(key, delay)
        else:
            self._failures.pop(key, None)
        if key in self._dirty:
            self.add(key, bulk=self._dirty.pop(key))
        return delay

    def failures(self, key: Key) -> int:
        """How many times in a row the key has failed."""
        return self._failures.get(key, 0)

    def forget(self, key: Key) -> None:
        """The object is gone: no more delays for it."""
        self._failures.pop(key, None)
        self._due.pop(key, None)

    def clear(self) -> None:
        """Drop all that waits: another process does the work now."""
        self._urgent, self._bulk = _Lane(), _Lane()
        self._queued.clear()
        self._dirty.clear()
        self._failures.clear()
        self._due.clear()
        self._heap.clear()

    def close(self) -> None:
        """Hand out no more keys."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._waiters:
            self._wake_one()

    def _pop(self) -> Key | None:
        self._turn += 1
        lanes = (self._bulk, self._urgent) if self._turn % SECOND_TURN == 0 else (self._urgent, self._bulk)
        for lane in lanes:
            if key := lane.pop(self._full):
                del self._queued[key]
                return key
        return None

    def _start(self, key: Key) -> None:
        self._running.add(key)
        self._busy[key.namespace] += 1
        if self._busy[key.namespace] >= self._most:
            self._full.add(key.namespace)

    def _stop(self, key: Key) -> None:
        self._running.discard(key)
        self._busy[key.namespace] -= 1
        if not self._busy[key.namespace]:
            del self._busy[key.namespace]
        if key.namespace in self._full:
            self._full.discard(key.namespace)
            self._wake_one()  # a worker may be idle beside keys that it was not given

    def release_due(self) -> None:
        """Move the keys whose time has come to the queue."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:  # else it was handled or moved to an earlier time
                del self._due[key]
                self.add(key)
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap and not self._closed:
            delay = max(0.0, self._heap[0][0] - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self.release_due)

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
