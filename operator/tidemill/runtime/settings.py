"""Settings of the operator: what can be set, and within which limits. Where they come from is the business of options.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from pydantic.alias_generators import to_camel

from tidemill.build import settings as build

Seconds = Annotated[float, Field(gt=0, le=86400)]
NamespaceName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Url = Annotated[str, Field(pattern=r"^(https?://\S+)?$")]


class SettingsError(Exception):
    """A setting is wrong; the message names it, says why, and the way out."""

    def __init__(self, message: str, *, key: str = "") -> None:
        """`key` is for those who find the mistake without knowing where the setting came from: see Settings.origin."""
        super().__init__(message)
        self.key = key


class _Section(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=True
    )


class WatchSettings(_Section):
    """What is watched."""

    namespaces: tuple[NamespaceName, ...] = ()
    """Namespaces to watch, comma-separated; empty: all of the cluster."""
    resync_interval: Seconds = 300.0
    """Seconds between two comparisons of the cache with the API server."""
    full_pass_interval: Seconds = 3600.0
    """Seconds between two passes over every resource; a pass without need writes nothing."""


class ImageSettings(_Section):
    """Images of the pods that the operator makes."""

    worker: str = "localhost/tidemill-worker:dev"
    """Image of the tasks."""
    trainer: str = "localhost/tidemill-trainer:dev"
    """Image of the training tasks."""
    language: str = "localhost/tidemill-language:dev"
    """Image of the training tasks of transformers: text classification, language models, preferences."""
    serving: str = "localhost/tidemill-serving:dev"
    """Image of CPU serving pools and of every agent."""
    triton: str = ""
    """Image of serving pools with runtime NVIDIA."""
    ray: str = ""
    """Image of Datasets with engine Ray."""
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """imagePullPolicy of every container."""
    pull_secrets: tuple[str, ...] = ()
    """Names of image pull secrets, comma-separated."""


class StoreSettings(_Section):
    """The artifact store, as pods see it."""

    bucket: str = Field(default="tidemill", min_length=1)
    """Bucket of all artifacts."""
    endpoint: Url = ""
    """URL of the S3 API; empty: AWS."""
    region: str = "us-east-1"
    """Region to sign for."""
    secret_name: str = "tidemill-store"
    """Secret of each namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""


class PrometheusSettings(_Section):
    """The Prometheus that evaluates drift scores."""

    url: Url = ""
    """URL of the Prometheus API; empty: drift policies say that nothing was measured."""
    token_file: str = ""
    """File with a bearer token."""
    ca_file: str = ""
    """CA certificates that the URL's certificate is checked against."""
    timeout: Seconds = 20.0
    """Seconds to wait for an answer."""


class ProgressSettings(_Section):
    """How often running tasks are asked how far they are."""

    interval: Annotated[float, Field(ge=3, le=3600)] = 15.0
    """Seconds between two questions to one run."""
    timeout: Seconds = 2.0
    """Seconds to wait for an answer."""
    concurrency: int = Field(default=20, ge=1, le=1000)
    """Questions at a time."""


class ClientSettings(_Section):
    """How much is asked of the API server at most; the lease is not limited."""

    qps: Annotated[float, Field(ge=0, le=100_000)] = 500.0
    """Requests a second in the long run; 0: no limit."""
    burst: int = Field(default=1000, ge=1, le=1_000_000)
    """Requests at once after a quiet time; without meaning when qps is 0."""


class LeaseSettings(_Section):
    """Leader election."""

    enabled: bool = True
    """Whether to elect a leader; without, run exactly one replica."""
    name: NamespaceName = "tidemill-operator"
    """Name of the Lease."""
    namespace: str = ""
    """Namespace of the Lease; empty: the operator's own."""
    duration: Seconds = 15.0
    """Seconds after which a silent leader is replaced."""
    renew_deadline: Seconds = 10.0
    """Seconds after which a leader that cannot renew stops writing."""
    retry_period: Seconds = 2.0
    """Seconds between two attempts."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.retry_period < self.renew_deadline < self.duration:
            raise ValueError("retryPeriod must be less than renewDeadline, and that less than duration")
        return self


class ShardSettings(_Section):
    """Several operators that share out the namespaces of the cluster."""

    count: int = Field(default=1, ge=1, le=16)
    """Into how many shares; all operators must be told the same number."""
    index: int = Field(default=0, ge=0, le=15)
    """Which share is this operator's, from 0."""


class LogSettings(_Section):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severity that is logged."""
    format: Literal["json", "text"] = "json"
    """JSON lines, or text for people."""


class ChildSettings(_Section):
    """How children look."""

    worker_service_account: str = "default"
    """ServiceAccount of task pods; they get no token."""
    agent_role_kind: Literal["ClusterRole", "Role"] = "ClusterRole"
    """Kind of the role that serving agents are bound to."""
    agent_role_name: str = "tidemill-agent"
    """Name of that role."""
    cluster_domain: str = "cluster.local"
    """DNS domain of the cluster."""
    pod_labels: dict[str, str] = {}
    """Labels added to every pod (key=value, comma-separated)."""


class Settings(_Section):
    """All settings."""

    kubeconfig: str = ""
    """Kubeconfig file; empty: the pod's service account."""
    workers: int = Field(default=16, ge=1, le=256)
    """Reconciles at a time."""
    http_port: int = Field(default=8080, ge=0, le=65535)
    """Port of /healthz, /readyz and /metrics; 0 picks a free one."""
    http_address: str = "0.0.0.0"
    """Address of that port."""
    shutdown_seconds: Seconds = 10.0
    """Seconds that running reconciles have to finish in."""
    watch: WatchSettings = WatchSettings()
    images: ImageSettings = ImageSettings()
    store: StoreSettings = StoreSettings()
    prometheus: PrometheusSettings = PrometheusSettings()
    progress: ProgressSettings = ProgressSettings()
    client: ClientSettings = ClientSettings()
    lease: LeaseSettings = LeaseSettings()
    shard: ShardSettings = ShardSettings()
    log: LogSettings = LogSettings()
    children: ChildSettings = ChildSettings()
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _shared_out(self) -> Self:
        if self.shard.index >= self.shard.count:
            raise ValueError(f"shard.index: {self.shard.index} must be less than shard.count, {self.shard.count}")
        if self.shard.count > 1 and not self.lease.enabled:
            raise ValueError("shard.count: more than one needs lease.enabled, or a change of the count has two writers")
        if self.shard.count > 1 and self.watch.namespaces:
            raise ValueError(
                "shard.count: shares are of all namespaces, not of watch.namespaces; "
                "install one operator for each group of namespaces instead"
            )
        return self

    def origin(self, key: str) -> str:
        """Where a setting (as in the file: watch.namespaces) came from, for messages; '' when nobody has set it."""
        return self._origins.get(key, "")

    def came_from(self, origins: Mapping[str, str]) -> Self:
        """The same settings, which know where each came from."""
        self._origins = origins
        return self

    def for_builders(self) -> build.BuildSettings:
        """The part that shapes children."""
        return build.BuildSettings(
            images=build.Images(**self.images.model_dump()),
            store=build.Store(**self.store.model_dump()),
            **self.children.model_dump(),
        )
