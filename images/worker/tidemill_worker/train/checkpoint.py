"""Checkpoints: everything that the next epoch depends on, as plain arrays (never a pickle), in the run's folder.

`checkpoints/latest.json` names the newest one with its hash and the task that made it.
"""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import numpy as np

from tidemill.contract.layout import join
from tidemill_worker import log
from tidemill_worker.errors import ObjectNotFound
from tidemill_worker.store import Store

LATEST, META = "latest.json", "meta"
Arrays = dict[str, np.ndarray]


def encode(state: Arrays, meta: dict[str, Any]) -> bytes:
    """As an npz file. `meta` is anything that JSON can hold."""
    buffer = io.BytesIO()
    np.savez(buffer, **state, **{META: np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)})  # type: ignore[arg-type]
    return buffer.getvalue()


def decode(body: bytes) -> tuple[Arrays, dict[str, Any]]:
    """What was encoded."""
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        meta: dict[str, Any] = json.loads(arrays[META].tobytes())
        return {name: arrays[name] for name in arrays.files if name != META}, meta


class CheckpointFolder:
    """`<run root>/checkpoints`: the newest checkpoint and the one before it."""

    def __init__(self, store: Store, run_root: str, task_id: str) -> None:
        self._store, self._root, self._task_id = store, join(run_root, "checkpoints"), task_id
        self._kept: list[str] = []

    def load(self) -> bytes | None:
        """The newest checkpoint of this very task. One that is damaged is not used: the training starts again."""
        pointer = self._store.read_or_none(join(self._root, LATEST))
        if pointer is None:
            return None
        try:
            latest = json.loads(pointer)
            name, expected = str(latest["file"]), str(latest["sha256"])
            if latest["task"] != self._task_id:
                log.warn("checkpoint of another task is ignored", task=latest["task"])
                return None
            body = self._store.read(join(self._root, name))
        except (ValueError, KeyError, TypeError, ObjectNotFound) as error:
            log.warn("unreadable checkpoint is ignored", error=str(error))
            return None
        if hashlib.sha256(body).hexdigest() != expected:
            log.warn("damaged checkpoint is ignored", file=name)
            return None
        self._kept.append(name)
        return body

    def save(self, epoch: int, body: bytes) -> None:
        """Store a checkpoint, then point to it, then remove those before the last two."""
        name = f"epoch-{epoch:06d}.npz"
        self._store.put(join(self._root, name), body, media_type="application/octet-stream")
        pointer = {"file": name, "sha256": hashlib.sha256(body).hexdigest(), "epoch": epoch, "task": self._task_id}
        self._store.put(join(self._root, LATEST), json.dumps(pointer).encode())
        if name not in self._kept:
            self._kept.append(name)
        while len(self._kept) > 2:
            self._store.delete(join(self._root, self._kept.pop(0)))
