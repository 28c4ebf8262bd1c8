"""Checkpoints: everything that the next epoch depends on, as plain arrays (never a pickle), in the run's folder.

`checkpoints/latest.json` names the newest one with its hash and the task that made it.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from tidemill.contract.layout import join
from tidemill_worker import log
from tidemill_worker.errors import ObjectNotFound
from tidemill_worker.store import Store

LATEST = "latest.json"


@dataclass
class TrainingState:
    """Where a training is between two epochs."""

    epoch: int = 0
    """Complete epochs."""
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)


def encode(state: TrainingState, network: nn.Module, optimizer: torch.optim.Optimizer) -> bytes:
    """As an npz file."""
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in network.state_dict().items():
        arrays[f"network/{name}"] = tensor.detach().cpu().numpy()
    for name, tensor in state.best_weights.items():
        arrays[f"best/{name}"] = tensor.detach().cpu().numpy()
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            arrays[f"optimizer/{index}/{slot}"] = torch.as_tensor(value).detach().cpu().numpy()
    arrays["random"] = torch.get_rng_state().numpy()
    if torch.cuda.is_available():
        arrays["random-cuda"] = torch.cuda.get_rng_state().cpu().numpy()
    best = None if state.best_loss == float("inf") else state.best_loss
    meta = {"epoch": state.epoch, "best_loss": best, "best_epoch": state.best_epoch, "history": state.history}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def restore(body: bytes, network: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Put everything back. Raises ValueError or KeyError when the file does not fit the network."""
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        meta = json.loads(arrays["meta"].tobytes())
        groups: dict[str, dict[str, Any]] = {"network": {}, "best": {}, "optimizer": {}}
        for name in arrays.files:
            head, _, rest = name.partition("/")
            if rest:
                groups[head][rest] = torch.from_numpy(arrays[name].copy())
        random = torch.from_numpy(arrays["random"].copy())
        random_cuda = arrays["random-cuda"].copy() if "random-cuda" in arrays.files else None
    slots: dict[int, dict[str, Any]] = {}
    for name, value in groups["optimizer"].items():
        index, slot = name.split("/")
        slots.setdefault(int(index), {})[slot] = value
    network.load_state_dict(groups["network"])
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    torch.set_rng_state(random)
    if random_cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(torch.from_numpy(random_cuda))
    return TrainingState(
        epoch=int(meta["epoch"]),
        best_loss=float("inf") if meta["best_loss"] is None else float(meta["best_loss"]),
        best_epoch=int(meta["best_epoch"]),
        history=list(meta["history"]),
        best_weights=groups["best"],
    )


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
        except (ValueError, KeyError, ObjectNotFound) as error:
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
