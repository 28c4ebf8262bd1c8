"""Where a dataset's rows are read and transformed: in the Job itself, or before it on an existing Ray cluster."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidemill.contract.base import Document
from tidemill.contract.durations import Duration

Engine = Literal["Local", "Ray"]
_UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}


class RayCluster(Document):
    """A running Ray cluster whose nodes have the operator's image `ray`. Each file of the inputs is one task on it."""

    address: str = Field(pattern=r"^ray://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[1-9][0-9]{0,4}$", max_length=268)
    """Its Ray Client server: `ray://<host>:10001`."""
    memory: str = Field(default="2Gi", pattern=r"^[1-9][0-9]{0,5}(Mi|Gi)$")
    """What Ray sets aside on a node for the task of one file, besides one CPU, and what that task keeps within."""
    secret_name: str | None = Field(default=None, max_length=253)
    """Secret whose key `token` the cluster asks for (`RAY_AUTH_MODE=token`). A cluster that asks for none runs the code of
    everyone who reaches it."""
    wait: Duration = "5m"
    """How long to wait for the cluster to answer, and then for a node with room for one task, before the Job fails and is
    tried again."""

    @property
    def memory_bytes(self) -> int:
        """`memory` as a number."""
        return int(self.memory[:-2]) * _UNITS[self.memory[-2:]]
