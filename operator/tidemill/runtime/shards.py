"""Shards: which operator a namespace belongs to, and how the API server is asked to leave the others' objects out.

Rendezvous hashing, also called highest random weight (Thaler and Ravishankar, "Using name-based mappings to increase hit
rates", IEEE/ACM Transactions on Networking 6(1), 1998): every shard has a weight for a namespace, and the highest has it.
One shard more takes 1/(n+1) of the namespaces, evenly from all others, and moves nothing between those.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from hashlib import blake2b

EXCLUDED = 64
"""So many foreign namespaces are named to the API server: 5 KB of a URL, which proxies let through."""
_REMEMBERED = 4096


@lru_cache(maxsize=8192)
def shard_of(namespace: str, count: int) -> int:
    """The shard, from 0, that a namespace belongs to. The same in every process and version: tests pin the values."""
    return max(range(count), key=lambda index: _weight(namespace, index))


def _weight(namespace: str, index: int) -> bytes:
    return blake2b(namespace.encode(), key=b"%d" % index, digest_size=8).digest()


class Shard:
    """One of `count` operators that share out the namespaces."""

    def __init__(self, index: int = 0, count: int = 1) -> None:
        self.index = index
        self.count = count
        self._foreign: Counter[str] = Counter()

    def __str__(self) -> str:
        return f"shard {self.index} of {self.count}"

    def admits(self, namespace: str) -> bool:
        """Whether an object of the namespace is ours. One that is not counts for `field_selector`."""
        if self.count == 1 or shard_of(namespace, self.count) == self.index:
            return True
        self._foreign[namespace] += 1
        return False

    def field_selector(self) -> str | None:
        """What keeps the busiest foreign namespaces out of a LIST or WATCH; `admits` is still asked for the rest.

        It names what is not wanted: a namespace that nobody knew when the watch was opened comes through.
        """
        busiest = self._foreign.most_common(EXCLUDED)
        if len(self._foreign) > _REMEMBERED:
            self._foreign = Counter(dict(busiest))
        return ",".join(sorted(f"metadata.namespace!={name}" for name, _ in busiest)) or None

    def lease_name(self, base: str) -> str:
        """The Lease that the shard's leader holds."""
        return base if self.count == 1 else f"{base}-{self.index}-of-{self.count}"


def count_of(lease: str, base: str) -> int | None:
    """The number of shards that a Lease's name tells; None when it is no operator's of this installation."""
    found = re.fullmatch(rf"{re.escape(base)}(?:-\d+-of-(\d+))?", lease)
    return int(found[1] or 1) if found else None
