"""The base of all kinds: metadata, conditions, and the record of what a kind is called."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import Field

from tidemill.contract.base import Document
from tidemill.contract.markers import list_map
from tidemill.contract.names import GROUP, VERSION
from tidemill.contract.tasks import ObjectRef

ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63)]
"""The name of another resource in the same namespace (a DNS label)."""
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$", max_length=32)]
"""A Kubernetes quantity such as 500m, 2 or 4Gi."""
Time = Annotated[str, Field(max_length=40)]
"""A moment, RFC 3339 in UTC with seconds."""
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class OwnerReference(Document):
    """The part of an ownerReference that reconciling needs."""

    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class ObjectMeta(Document):
    """The part of an object's metadata that reconciling needs."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()


class Condition(Document):
    """One condition, as in metav1.Condition."""

    type: str = Field(min_length=1, max_length=63)
    """What it is about."""
    status: Literal["True", "False", "Unknown"]
    """True, False, or Unknown."""
    reason: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$", max_length=64)
    """A constant; see docs/reference/reasons.md."""
    message: str = Field(default="", max_length=1024)
    """The reason in words, with the way out."""
    last_transition_time: Time
    """When the status last changed."""
    observed_generation: int = 0
    """The generation of the spec that the condition speaks of."""


Conditions = Annotated[tuple[Condition, ...], Field(max_length=12, json_schema_extra=list_map("type"))]


class Status(Document):
    """What every kind's status has (kstatus)."""

    observed_generation: int = 0
    """The generation of the spec that this status speaks of."""
    conditions: Conditions = ()
    """What holds of the object: Ready always, Reconciling or Stalled while true, and the kind's own."""

    def condition(self, type_: str) -> Condition | None:
        """The condition of a type, if it is there."""
        return next((c for c in self.conditions if c.type == type_), None)


SpecT = TypeVar("SpecT", bound=Document)
StatusT = TypeVar("StatusT", bound=Status)


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column of `kubectl get`."""

    name: str
    json_path: str
    type: Literal["string", "integer", "number", "boolean", "date"] = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True)
class Names:
    """What a kind is called, and how it is shown."""

    kind: str
    plural: str
    singular: str
    short: tuple[str, ...]
    columns: tuple[Column, ...] = ()
    rules: tuple[dict[str, Any], ...] = field(default=())
    """CEL rules on the whole object (metadata.name and spec are visible)."""
    scale: tuple[str, str, str] | None = None
    """JSON paths of specReplicas, statusReplicas and labelSelector, when the kind has a scale subresource."""

    @property
    def crd_name(self) -> str:
        """`<plural>.<group>`."""
        return f"{self.plural}.{GROUP}"


class Resource(Document, Generic[SpecT, StatusT]):
    """An object of one of our kinds."""

    NAMES: ClassVar[Names]

    api_version: str = f"{GROUP}/{VERSION}"
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: SpecT
    status: StatusT

    @property
    def ref(self) -> ObjectRef:
        """The object as tasks and messages name it."""
        m = self.metadata
        return ObjectRef(kind=self.NAMES.kind, namespace=m.namespace, name=m.name, uid=m.uid, generation=m.generation)


READY_COLUMNS = (
    Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
    Column("Reason", '.status.conditions[?(@.type=="Ready")].reason'),
)
AGE_COLUMN = Column("Age", ".metadata.creationTimestamp", "date")
