"""What the environment says of a distributed training: which pod this is, which of its processes, and where all meet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, cast

from tidemill.contract import names

ENV_LOCAL_RANK = "LOCAL_RANK"
"""Set by the launcher in the processes that it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod of a distributed training, or one process of it."""

    index: int
    nodes: int
    min_nodes: int
    processes: int
    """Processes of each pod."""
    strategy: Literal["DDP", "FSDP"]
    max_restarts: int
    join_timeout: int
    """Seconds that the pods wait for each other."""
    host: str
    port: int
    """Where the pods meet: at pod 0."""
    address: str | None
    """The pod's own IP address."""
    process: int | None
    """Which of the pod's processes this is, None in the launcher."""

    @classmethod
    def read(cls) -> Pod | None:
        """From environment variables; None in an ordinary pod."""
        get = os.environ.get
        nodes = get(names.ENV_NODES)
        if not nodes:
            return None
        few, _, many = nodes.rpartition(":")
        host, _, port = get(names.ENV_RENDEZVOUS, "").rpartition(":")
        process = get(ENV_LOCAL_RANK)
        return cls(
            index=int(get(names.ENV_COMPLETION_INDEX) or 0),
            nodes=int(many),
            min_nodes=int(few or many),
            processes=int(get(names.ENV_PROCESSES) or 1),
            strategy=cast(Literal["DDP", "FSDP"], get(names.ENV_STRATEGY) or "DDP"),
            max_restarts=int(get(names.ENV_MAX_RESTARTS) or 0),
            join_timeout=int(get(names.ENV_JOIN_TIMEOUT) or 1800),
            host=host,
            port=int(port),
            address=get(names.ENV_POD_IP) or None,
            process=None if process is None else int(process),
        )

    @property
    def leads(self) -> bool:
        """Whether this process speaks for all: it stores checkpoints and the model, and tells how far the training is."""
        return (self.index, self.process) == (0, 0)
