"""What comes in: every observed object goes through here into the indices, and its consequences into the queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.reconcile.observed import Object
from tidemill.reconcile.plan import Key
from tidemill.reconcile.triggers import delay, is_told, triggered
from tidemill.runtime.indices import Indices
from tidemill.runtime.queue import WorkQueue
from tidemill.runtime.shards import Shard

OWN_WRITE_DELAY = 0.05
"""A resource that has just written is looked at again so much later: the answers of others to the write come with it."""


class Intake:
    """Feeds indices and queue. While inactive (standby, or not synced) it feeds the indices alone."""

    def __init__(
        self, indices: Indices, queue: WorkQueue, kinds: frozenset[str], *, shard: Shard | None = None
    ) -> None:
        self._indices = indices
        self._queue = queue
        self._kinds = kinds
        self.shard = shard or Shard()
        self.active = False

    def observed(self, raw: Mapping[str, Any], *, writer: Key | None = None, listed: int = 0) -> bool:
        """Take in an object. `writer` is the resource whose reconcile wrote it, `listed` the resourceVersion of the list
        that it is from. True when it was news."""
        meta = raw["metadata"]
        if not self.shard.admits(meta.get("namespace", "")):
            return False
        before = self._indices.entry(raw["kind"], meta.get("namespace", ""), meta["name"])
        after = self._indices.upsert(raw, listed=listed)
        if after is None:
            return False
        now = self._indices.entry(raw["kind"], meta.get("namespace", ""), meta["name"])
        if not self.active or now is None:
            return True
        moved = False
        if before is None and raw["kind"] in self._kinds:
            self._queue.add(Key(kind=raw["kind"], namespace=meta.get("namespace", ""), name=meta["name"]), new=True)
        if before is not None:
            if _same(before.obj, after) and not now.edited:
                return True
            moved = before.facets != now.facets or before.owner != now.owner
            if moved:
                self.trigger(before.obj, writer=writer)  # what it pointed or belonged to before must hear of it too
        told = before is None or moved or is_told(before.obj, after)
        self.trigger(after, writer=writer, dependents=told)
        return True

    def deleted(self, raw: Mapping[str, Any], *, writer: Key | None = None) -> bool:
        """Forget an object. True when it was known."""
        meta = raw["metadata"]
        if not self.shard.admits(meta.get("namespace", "")):
            return False
        version = int(meta.get("resourceVersion") or 0)
        gone = self._indices.remove(raw["kind"], meta.get("namespace", ""), meta["name"], meta["uid"], version=version)
        if gone is None:
            return False
        if self.active:
            self.trigger(gone, writer=writer)
        return True

    def trigger(self, obj: Object, *, writer: Key | None = None, dependents: bool = True) -> None:
        """Queue what must be reconciled after a change of the object."""
        for key in triggered(obj, self._indices, dependents=dependents):
            if key == writer:
                self._queue.add_after(key, OWN_WRITE_DELAY)
            elif key.kind in self._kinds:
                self._queue.add_after(key, delay(obj, key))

    def enqueue_all(self) -> int:
        """Queue every resource, behind all changes."""
        count = 0
        for kind in sorted(self._kinds):
            for entry in self._indices.all(kind):
                self._queue.add(Key(kind=kind, namespace=entry.namespace, name=entry.name), bulk=True)
                count += 1
        return count


def _same(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether nothing that is kept has changed but the resourceVersion."""
    if before.keys() != after.keys():
        return False
    for part, value in after.items():
        old = before[part]
        if part == "metadata":
            if {**old, "resourceVersion": ""} != {**value, "resourceVersion": ""}:
                return False
        elif old != value:
            return False
    return True
