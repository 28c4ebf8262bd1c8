"""The processes of a distributed training as one group: who has which rows, whose word counts, and what waits for what.

A process that is lost closes its connections, which the others notice at once; a machine that is lost does not, and is
noticed after `LOST`. Either way what they do ends with PeersLost, and the agents form a new group.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tidemill_worker import log
from tidemill_worker.context import Stop
from tidemill_worker.distributed.alone import Alone
from tidemill_worker.distributed.pod import Pod
from tidemill_worker.distributed.waiting import await_port, await_true
from tidemill_worker.errors import Dismissed, PeersLost
from tidemill_worker.train.sharding import whole

LOST = timedelta(seconds=60)
"""Within an epoch no process lets the others wait so long, unless its machine is gone."""
PATIENCE = timedelta(minutes=15)
"""Between epochs one may: the leader stores a checkpoint. Before the first all have a dataset to download."""
_HERE, _DONE = "here", "done"
Network = TypeVar("Network", bound=nn.Module)


class ProcessGroup(Alone):
    """This process among the others. What sends anything is called by all of them together."""

    def __init__(self, pod: Pod, stop: Stop) -> None:
        self._pod, self._stop = pod, stop
        self.leads = pod.leads
        self.keeps_state = pod.leads or pod.strategy == "FSDP"
        self.progressed = False
        self.size, self.rank, self._leader, self._epochs = 1, 0, 0, 0
        self._store: Any = None
        self._training: dist.ProcessGroup | None = None
        self._blank: nn.Module | None = None

    def form(self) -> None:
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        deadline, cuda = time.monotonic() + PATIENCE.total_seconds(), torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(self._pod.process or 0)
        if self.rank > 0:
            await_port(address, port, deadline, who="process 0 of the training")
        with self.watching():
            store: Any = dist.TCPStore(  # type: ignore[attr-defined]
                address, port, self.size, self.rank == 0, LOST, wait_for_workers=False
            )
            store.add(_HERE, 1)
            await_true(
                lambda: bool(store.add(_HERE, 0) == self.size), deadline, what="all processes had read the dataset"
            )
            backends = "cpu:gloo,cuda:nccl" if cuda else "cpu:gloo"
            dist.init_process_group(backends, store=store, rank=self.rank, world_size=self.size, timeout=PATIENCE)
            self._store, self._training = store, cast(dist.ProcessGroup, dist.new_group(timeout=LOST))
            leader = torch.tensor(self.rank if self.leads else 0)
            dist.all_reduce(leader)  # ranks are as the rendezvous likes
            self._leader = int(leader)
        log.info("group formed", processes=self.size, leader=self._leader)

    def wrap(self, network: nn.Module) -> nn.Module:
        device = next(network.parameters()).device
        if self._pod.strategy == "DDP":
            devices = [device.index] if device.type == "cuda" else None
            with self.watching():
                return DistributedDataParallel(
                    network, device_ids=devices, process_group=self._training, gradient_as_bucket_view=True
                )
        from torch.distributed.device_mesh import DeviceMesh  # seconds, which only this strategy needs
        from torch.distributed.fsdp import fully_shard

        assert self._training is not None
        self._blank = copy.deepcopy(network)
        mesh = DeviceMesh.from_group(self._training, device.type)
        for layer in list(network.modules()):
            if isinstance(layer, nn.Linear | nn.Embedding):
                fully_shard(layer, mesh=mesh)
        fully_shard(network, mesh=mesh)
        return network

    def whole(self, network: Network) -> Network:
        if self._blank is None:
            return network
        with self.watching():
            self._blank.load_state_dict({name: whole(value) for name, value in network.state_dict().items()})
        return cast(Network, self._blank)

    def share(self, rows: int) -> tuple[slice, float]:
        first, end = rows * self.rank // self.size, rows * (self.rank + 1) // self.size
        return (slice(first, end), (end - first) * self.size / rows) if end > first else (slice(0, 1), 0.0)

    def mean(self, value: torch.Tensor) -> float:
        shared = value.detach().to("cpu", torch.float64)
        with self.watching():
            dist.all_reduce(shared, group=self._training)
        return float(shared) / self.size

    def agreed(self, read: Callable[[], bytes | None]) -> bytes | None:
        body = read() if self.leads else None
        size = torch.tensor(-1 if body is None else len(body))
        with self.watching():
            dist.broadcast(size, self._leader)
            if size < 0:
                return None
            content = torch.frombuffer(bytearray(body or int(size)), dtype=torch.uint8)
            dist.broadcast(content, self._leader)
        return content.numpy().tobytes()

    def begin_epoch(self, seed: int) -> None:
        with self.watching():
            dist.all_reduce(torch.zeros(1))
        torch.manual_seed(seed * 1_009 + self.rank)
        self._epochs += 1
        self.progressed = self._epochs > 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and "gloo" not in str(error):
                raise
            self._stop.check()  # all of them may have been asked to end, and some are quicker
            line = str(error).strip().splitlines()[0]
            raise PeersLost(f"other processes of the training cannot be reached any more: {line}") from error

    def follow(self) -> None:
        store = self._store
        if self.leads or store is None:
            return
        self.progressed = True  # whatever the leader meets with now is not this pod's failure
        with self.watching():
            await_true(lambda: bool(store.check([_DONE])), math.inf, what="the leader was done", step=0.2)
            self._part()
        raise Dismissed

    def disband(self) -> None:
        if self.leads and self._store is not None:
            with suppress(RuntimeError):  # whoever is gone already needs no permission
                self._store.set(_DONE, "")
                self._part()

    def _part(self) -> None:
        """Nobody leaves before all know: the store is in one of the processes."""
        dist.all_reduce(torch.zeros(1), group=self._training)
        dist.destroy_process_group()
