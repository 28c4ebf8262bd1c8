"""Notices that the API server's history went back: etcd was restored, and versions no longer tell what is old from what is new.

A LIST is never behind anything that was seen before it began, neither by its own resourceVersion nor by that of an object
in it. One that is comes from a server that has forgotten something: such a list is believed in everything. A watch that
goes on from a version which the server has not reached yet hears nothing until it has; it must begin anew with a list.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from tidemill.runtime.indices import Indices

Dimension = tuple[str, str]
"""A kind, and a namespace or '' for the whole cluster: one watch each."""
_log = logging.getLogger("tidemill.history")


class History:
    """By kind, since kinds may lie in an etcd of their own."""

    def __init__(self, indices: Indices) -> None:
        self._indices = indices
        self._turns: dict[str, int] = {}
        """How often a kind's history went back."""
        self._watched_since: dict[Dimension, int] = {}
        """That number when the watch of a dimension began."""

    def contradicted(self, kind: str, items: Iterable[Mapping[str, Any]], version: int, *, newest: int) -> bool:
        """Whether a page of a list of this version cannot be; `newest` is what was known when it was asked for."""
        return version < newest or any(self._indices.contradicts(item["metadata"], kind, version) for item in items)

    def went_back(self, kind: str, version: int) -> None:
        """From now on the kind's versions are those of a server that is no further than this."""
        _log.warning(
            "the API server has forgotten some of what it said about %s (it is at resource version %d, and had been at %d): "
            "was etcd restored? All is listed anew",
            kind,
            version,
            self._indices.newest(kind),
        )
        self._turns[kind] = self._turns.get(kind, 0) + 1
        self._indices.rewind(kind, version)

    def is_behind(self, dimension: Dimension) -> bool:
        """Whether the dimension's watch began before the history went back."""
        turns = self._turns.get(dimension[0], 0)
        return self._watched_since.get(dimension, turns) < turns

    def watched_anew(self, dimension: Dimension) -> None:
        """The dimension was listed, and its watch goes on from there."""
        self._watched_since[dimension] = self._turns.get(dimension[0], 0)
