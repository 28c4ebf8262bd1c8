"""Where a dataset's rows are read and transformed: in the Job itself, or before it on a Ray cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tidemill.contract.base import Document
from tidemill.contract.durations import Duration
from tidemill.contract.markers import cel, rules

Engine = Literal["Local", "Ray"]
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}(Mi|Gi)$")]
"""A whole number of Mi or Gi."""
_UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
RAY_ITSELF = "512Mi"
"""What a node's own processes are left with of its pod's memory. Of the rest three quarters are for tasks, one for the rows
that they give back."""


class RayCluster(Document):
    """A Ray cluster that KubeRay makes for the preparation alone, from when its Job is made until it ends: a head, which
    runs no tasks, and workers. Its pods have the operator's image `ray` and the Dataset's `placement`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(f"quantity(self.headMemory).isGreaterThan(quantity('{RAY_ITSELF}'))",
                f"headMemory: Ray itself needs {RAY_ITSELF}", field=".headMemory"),
        )
    )  # fmt: skip

    workers: int = Field(ge=1, le=256)
    """Worker pods."""
    cpu: int = Field(default=1, ge=1, le=256)
    """CPUs that each worker's pod asks for, and with it the greatest number of its tasks at a time."""
    memory: Memory = "4Gi"
    """Each worker's pod, request and limit: 512Mi for Ray itself; of the rest three quarters for tasks."""
    head_memory: Memory = "2Gi"
    """The head's pod, request and limit. The rows that tasks give back pass through it."""


class RayOptions(Document):
    """The Ray cluster that is used: a running one, or one that KubeRay makes. Each file of the inputs is one task on it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("has(self.address) != has(self.cluster)", "set exactly one of: address, cluster"),
            cel("!has(self.cluster) || has(self.secretName)",
                "a cluster that asks for no token runs anyone's code: name a Secret with a `token` of your choice",
                field=".secretName"),
            cel("!has(self.cluster) || quantity(self.cluster.memory).sub(quantity("
                f"'{RAY_ITSELF}')).asApproximateFloat() * 0.75 >= quantity(self.memory).asApproximateFloat()",
                f"a worker must have room for a task of `memory`: three quarters of what {RAY_ITSELF} for Ray itself leave",
                field=".cluster.memory"),
        )
    )  # fmt: skip

    address: str | None = Field(
        default=None, pattern=r"^ray://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?:[1-9][0-9]{0,4}$", max_length=268
    )
    """The Ray Client server, `ray://<host>:10001`, of a running cluster whose nodes have the operator's image `ray`."""
    cluster: RayCluster | None = None
    memory: Memory = "2Gi"
    """What Ray sets aside on a node for the task of one file, besides one CPU, and what that task keeps within."""
    secret_name: str | None = Field(default=None, max_length=253)
    """Secret whose key `token` the cluster asks for (`RAY_AUTH_MODE=token`). A cluster that asks for none runs the code of
    everyone who reaches it; with `cluster` the Secret is needed."""
    wait: Duration = "5m"
    """How long to wait for the cluster to answer, and then for a node with room for one task, before the Job fails and is
    tried again."""

    @property
    def memory_bytes(self) -> int:
        """`memory` as a number."""
        return in_bytes(self.memory)

    @property
    def server(self) -> str:
        """The address, which the operator has filled in where it makes the cluster. Raises ValueError when it has not."""
        if self.address is None:
            raise ValueError("spec.ray: the cluster's address is not known")
        return self.address

    @property
    def chosen(self) -> str:
        """The field that says which cluster: what messages about it name."""
        return "spec.ray.address" if self.cluster is None else "spec.ray.cluster"


def in_bytes(memory: Memory) -> int:
    """An amount of memory as a number."""
    return int(memory[:-2]) * _UNITS[memory[-2:]]
