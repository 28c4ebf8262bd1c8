"""The cache: trimmed objects by name, by controller and by facet. Implements reconcile.observed.Observed.

Three writers feed it: the watch, our own writes (so that the next reconcile does not act on what was before them), and the
resync. Each object only ever moves forward in resourceVersion; one that was deleted never comes back. Only a list may say
otherwise, about what is older than itself: the server's history went back then, see history.py.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from tidemill.contract.results import Progress
from tidemill.kube.managedfields import edited_by_others, posted_entry
from tidemill.reconcile.observed import DriftReading, Object
from tidemill.runtime.entry import Entry
from tidemill.runtime.trim import trim

EVERYTHING = sys.maxsize
"""As `listed`: whatever is known is older than the list."""
_TOMBSTONES = 20_000


class Measurements(Protocol):
    """The two measurements that reconciling sees besides objects."""

    def progress(self, namespace: str, pod: str) -> Progress | None:
        """What the task in a running pod said last."""

    def drift(self, namespace: str, policy: str) -> DriftReading | None:
        """The newest scores for a DriftPolicy."""


class Served(Protocol):
    """What the cluster serves."""

    def absent(self, kind: str) -> str | None:
        """Why a kind is not to be had, None when it is."""


Group = Entry | dict[str, Entry]
"""Objects found by the same value: one, as most are, or several by name."""


class Indices:
    """All objects that the operator watches."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, dict[str, Entry]]] = {}
        self._owned: dict[tuple[str, str], Group] = {}
        self._facets: dict[tuple[str, str, str, str], Group] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._newest: dict[str, int] = {}
        self.measurements: Measurements | None = None
        self.served: Served | None = None

    # Reading: Observed

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object, or None."""
        entry = self.entry(kind, namespace, name)
        return entry.obj if entry else None

    def owned(self, uid: str, kind: str) -> Sequence[Object]:
        """The objects of a kind whose controller has this UID, sorted by name."""
        return _sorted(self._owned.get((uid, kind)))

    def select(self, kind: str, namespace: str, facet: str, value: str) -> Sequence[Object]:
        """The objects of a kind with a facet of this value, sorted by name."""
        return _sorted(self._facets.get((kind, namespace, facet, value)))

    def names(self, kind: str, namespace: str, facet: str, value: str) -> Sequence[str]:
        """The names of what `select` would give."""
        found = self._facets.get((kind, namespace, facet, value))
        return () if found is None else (found.name,) if isinstance(found, Entry) else sorted(found)

    def number_of(self, kind: str, namespace: str, facet: str, value: str) -> int:
        """How many objects of a kind have a facet of this value."""
        found = self._facets.get((kind, namespace, facet, value))
        return 0 if found is None else 1 if isinstance(found, Entry) else len(found)

    def progress(self, namespace: str, pod: str) -> Progress | None:
        """What the task in a running pod said last."""
        return self.measurements.progress(namespace, pod) if self.measurements else None

    def drift(self, namespace: str, policy: str) -> DriftReading | None:
        """The newest scores for a DriftPolicy."""
        return self.measurements.drift(namespace, policy) if self.measurements else None

    def absent(self, kind: str) -> str | None:
        """Why objects of a kind cannot be made here, None when they can."""
        return self.served.absent(kind) if self.served else None

    # Reading: the engine

    def entry(self, kind: str, namespace: str, name: str) -> Entry | None:
        """One object's entry, or None."""
        try:
            return self._objects[kind][namespace][name]
        except KeyError:
            return None

    def all(self, kind: str, namespace: str | None = None) -> Iterator[Entry]:
        """The entries of a kind, of one namespace or of all; a copy, so that it may change meanwhile."""
        spaces = self._objects.get(kind, {})
        chosen = [spaces.get(namespace, {})] if namespace is not None else list(spaces.values())
        for space in chosen:
            yield from list(space.values())

    def count(self) -> dict[str, int]:
        """How many objects of each kind there are."""
        return {kind: sum(len(names) for names in spaces.values()) for kind, spaces in self._objects.items()}

    def newest(self, kind: str) -> int:
        """The highest resourceVersion that any object of a kind ever had here."""
        return self._newest.get(kind, 0)

    def contradicts(self, meta: Mapping[str, Any], kind: str, listed: int) -> bool:
        """Whether a list of this resourceVersion cannot have an object like this, by what was seen before."""
        if (gone := self._gone.get(meta["uid"])) is not None:
            return gone <= listed
        known = self.entry(kind, meta.get("namespace", ""), meta["name"])
        return known is not None and int(meta["resourceVersion"]) < known.version <= listed

    # Writing

    def upsert(self, raw: Mapping[str, Any], *, listed: int = 0) -> Object | None:
        """Take in an object as the API server gave it. The trimmed object when this was news, else None.

        `listed` is the resourceVersion of the list that it is from: what is known up to there is older than the list.
        """
        meta = raw["metadata"]
        if (gone := self._gone.get(meta["uid"])) is not None:
            if gone > listed:
                return None
            del self._gone[meta["uid"]]
        kind, namespace, name = raw["kind"], meta.get("namespace", ""), meta["name"]
        version = int(meta["resourceVersion"])
        known = self.entry(kind, namespace, name)
        if known is not None:
            same = known.version == version and listed < EVERYTHING
            if same or (known.version >= version and known.version > listed):
                return None
            self._unlink(known)
        self._saw(kind, version)
        obj = trim(raw)
        entry = Entry(obj, version, edited=edited_by_others(raw), posted=posted_entry(raw))
        kind, namespace, name = entry.kind, entry.namespace, entry.name
        self._objects.setdefault(kind, {}).setdefault(namespace, {})[name] = entry
        if entry.owner is not None:
            _put(self._owned, (entry.owner, kind), entry)
        for facet, value in entry.facets:
            _put(self._facets, (kind, namespace, facet, value), entry)
        return obj

    def remove(self, kind: str, namespace: str, name: str, uid: str, *, version: int = 0) -> Object | None:
        """Forget an object for ever. `version` is the last that is known of it. The object when it was known, else None."""
        self._gone[uid] = max(version, self._gone.get(uid, 1))
        self._saw(kind, version)
        while len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        known = self.entry(kind, namespace, name)
        if known is None or known.uid != uid:
            return None
        self._unlink(known)
        return known.obj

    def rewind(self, kind: str, version: int) -> None:
        """The server's history of a kind went back to this resourceVersion."""
        self._newest[kind] = version

    def _saw(self, kind: str, version: int) -> None:
        if version > self._newest.get(kind, 0):
            self._newest[kind] = version

    def _unlink(self, entry: Entry) -> None:
        kind, namespace, name = entry.kind, entry.namespace, entry.name
        spaces = self._objects[kind]
        del spaces[namespace][name]
        if not spaces[namespace]:
            del spaces[namespace]
        if entry.owner is not None:
            _discard(self._owned, (entry.owner, kind), name)
        for facet, value in entry.facets:
            _discard(self._facets, (kind, namespace, facet, value), name)


def _put(index: dict[Any, Group], key: Any, entry: Entry) -> None:
    there = index.get(key)
    if there is None or (isinstance(there, Entry) and there.name == entry.name):
        index[key] = entry
    elif isinstance(there, Entry):
        index[key] = {there.name: there, entry.name: entry}
    else:
        there[entry.name] = entry


def _discard(index: dict[Any, Group], key: Any, name: str) -> None:
    there = index.get(key)
    if isinstance(there, dict):
        there.pop(name, None)
        if not there:
            del index[key]
    elif there is not None and there.name == name:
        del index[key]


def _sorted(found: Group | None) -> Sequence[Object]:
    if found is None:
        return ()
    if isinstance(found, Entry):
        return (found.obj,)
    return tuple(found[name].obj for name in sorted(found))
