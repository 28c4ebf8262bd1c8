"""An Optuna journal in the artifact store: pods share a study without a database.

Optuna's journal storage needs an ordered log that several processes append to. Here each append is one object,
`<root>/<number>.json`, written only if nobody has written that number (`If-None-Match: *`): whoever loses reads what won and
takes the next number. There is no lock, so a pod that dies holds nothing.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from tidemill.contract.layout import join
from tidemill_worker.store import Store


class StoreJournal(BaseJournalBackend):
    """The log under one folder of the store. Reading costs one request more than there are new objects."""

    def __init__(self, store: Store, root: str) -> None:
        self._store, self._root = store, root
        self._logs: list[dict[str, Any]] = []
        self._objects = 0

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """All entries from this number on. Raises StoreUnavailable and AccessDenied."""
        while self._read_next() is not None:
            pass
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append entries, all of them together. Raises StoreUnavailable and AccessDenied."""
        mark = uuid.uuid4().hex
        body = json.dumps({"mark": mark, "logs": logs}).encode()
        while not self._store.put_if_absent(self._uri(self._objects), body):
            # Somebody else's, or our own: a request that was sent again after its answer was lost meets itself.
            if self._read_next() == mark:
                return

    def _read_next(self) -> str | None:
        """Take in the next object, if there is one; its mark."""
        body = self._store.read_or_none(self._uri(self._objects))
        if body is None:
            return None
        entry = json.loads(body)
        self._logs += entry["logs"]
        self._objects += 1
        return str(entry["mark"])

    def _uri(self, number: int) -> str:
        return join(self._root, f"{number:08d}.json")
