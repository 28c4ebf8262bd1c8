"""Training on several pods at once. Part of TrainingRun's spec; pods learn of it by environment variables, not by their
task: how many work on it decides no result, so a training may go on with another number."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tidemill.contract.base import Document
from tidemill.contract.markers import cel, rules

LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
"""A label's key: a name, with or without a DNS prefix."""


class JobSetOptions(Document):
    """A JobSet around the Job of the pods, for clusters that run JobSet's controller (sigs.k8s.io/jobset, v1alpha2).

    Tools that look for JobSets find the run, and the pods can be placed as JobSet places them. Retries, the model and what
    the pods are told are the same without.
    """

    exclusive_topology: Annotated[str, Field(min_length=1, max_length=317, pattern=LABEL_KEY)] | None = None
    """A label of nodes, such as a rack's: all pods go into one domain of it, and the pods of no other JobSet that asks for
    the same label go there (JobSet's annotation `alpha.jobset.sigs.k8s.io/exclusive-topology`)."""


class Distribution(Document):
    """Several processes train one network, started and watched by PyTorch's elastic launcher.

    `batchSize` stays the rows of one optimiser step: each process takes its share of them and the gradients are averaged, so
    that the model is that of one process but for rounding (and for `dropout`, which draws other units). A container finds in
    its environment what torchrun must know; the model that it leaves in the first pod counts. `resources` are those of a pod.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.nodes * self.processesPerNode >= 2", "one process needs no distribution: leave it out"),
            cel(
                "!has(self.minNodes) || self.minNodes < self.nodes",
                "minNodes must be less than nodes",
                field=".minNodes",
            ),
        )
    )

    nodes: int = Field(default=2, ge=1, le=256)
    """Pods that train together."""
    min_nodes: int | None = Field(default=None, ge=1, le=256)
    """Train with so few pods as well while the others are missing; by default all are waited for. The first pod is needed
    always: the others meet at it, and it stores the checkpoints and the model."""
    processes_per_node: int = Field(default=1, ge=1, le=16)
    """Processes of each pod. Those of a built-in trainer have one GPU each if `resources.gpu` is set, else their share of the
    pod's CPUs, and each holds the training split in memory."""
    strategy: Literal["DDP", "FSDP"] = "DDP"
    """DDP: each process holds the whole network (Li et al., VLDB 2020). FSDP: its parameters, gradients and optimiser state
    are spread over the processes (Zhao et al., VLDB 2023), for networks that one device cannot hold; slower for others."""
    join_timeout_seconds: int = Field(default=1800, ge=60, le=86_400)
    """How long the pods wait for each other, at the start and when one was lost, before they count as failed."""
    max_restarts: int = Field(default=3, ge=0, le=100)
    """How often a pod's processes are started again after one of them failed, from the last checkpoint. That another pod
    was lost does not count once an epoch was completed since the last start."""
    job_set: JobSetOptions | None = None
    """Make a JobSet of the run, `jobSet: {}`, instead of a Job alone. The cluster must serve jobset.x-k8s.io/v1alpha2: until
    it does the run waits."""
