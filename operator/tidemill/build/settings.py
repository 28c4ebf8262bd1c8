"""What the builders must know of the installation: images, the store, service accounts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Container images, each by digest or immutable tag."""

    worker: str
    trainer: str
    serving: str
    language: str = ""
    """The trainer's with the libraries of transformers, for text and language models."""
    triton: str = ""
    """NVIDIA's Triton image, for pools with runtime NVIDIA."""
    ray: str = ""
    """The worker with Ray, for Datasets with engine Ray."""
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The artifact store, as every pod sees it."""

    bucket: str
    endpoint: str = ""
    """Empty: AWS itself."""
    region: str = "us-east-1"
    secret_name: str = "tidemill-store"
    """Secret of each namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; optional with workload identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """Everything that shapes a child and does not come from the resource itself."""

    images: Images
    store: Store
    worker_service_account: str = "default"
    agent_role_kind: Literal["ClusterRole", "Role"] = "ClusterRole"
    agent_role_name: str = "tidemill-agent"
    """The role that a pool's agent is bound to."""
    cluster_domain: str = "cluster.local"
    pod_labels: dict[str, str] = field(default_factory=dict)
