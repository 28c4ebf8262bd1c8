"""One cached object: packed as JSON, with what is needed to find, count and forget it beside it.

An object as dictionaries takes eight times the memory of its JSON, and every dictionary is one more for the garbage
collector to look at: its pauses, in which nothing else happens, grew with the number of objects.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from tidemill.reconcile.facets import Facet, facets
from tidemill.reconcile.observed import Object
from tidemill.reconcile.podstate import is_running

_UNPACKED = 512
"""So many objects are kept unpacked: pools and versions are read for each of the many that use them."""


class Entry:
    """One object of the cache."""

    __slots__ = (
        "_packed",
        "edited",
        "facets",
        "kind",
        "name",
        "namespace",
        "owner",
        "posted",
        "state",
        "uid",
        "version",
    )

    def __init__(self, obj: Mapping[str, Any], version: int, *, edited: bool, posted: int | None) -> None:
        """`obj` is trimmed, `version` its resourceVersion; for `edited` and `posted` see kube/managedfields.py."""
        meta = obj["metadata"]
        # A copy: orjson leaves its buffer, several times as long, behind what it returns.
        self._packed = bytes(memoryview(orjson.dumps(obj)))
        self.kind: str = sys.intern(obj["kind"])
        self.namespace: str = sys.intern(meta.get("namespace", ""))
        self.name: str = meta["name"]
        self.uid: str = meta["uid"]
        self.version = version
        owner = next((o["uid"] for o in meta.get("ownerReferences", ()) if o.get("controller")), None)
        self.owner = None if owner is None else sys.intern(owner)
        self.facets: tuple[Facet, ...] = tuple((facet, sys.intern(value)) for facet, value in facets(obj))
        self.state = _state(obj)
        """The status of the Ready condition, or a Pod's phase (Running, too, while its init container runs a user's own code);
        '' where there is none."""
        self.edited = edited
        self.posted = posted

    @property
    def obj(self) -> Object:
        """The object. It may be shared with others that read it: never modify it."""
        return _unpack(self._packed)


@lru_cache(maxsize=_UNPACKED)
def _unpack(packed: bytes) -> Object:
    obj: Object = orjson.loads(packed)
    return obj


def _state(obj: Mapping[str, Any]) -> str:
    status = obj.get("status") or {}
    if obj["kind"] == "Pod":
        return "Running" if is_running(obj) else sys.intern(status.get("phase", ""))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Ready":
            return sys.intern(condition.get("status", ""))
    return ""
