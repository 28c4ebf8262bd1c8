"""How tasks and results name what they speak of: artifacts in the store, and resources."""

from __future__ import annotations

from pydantic import Field

from tidemill.contract.base import Document


class ArtifactRef(Document):
    """An immutable artifact: its folder and the digest of its manifest."""

    uri: str = Field(pattern=r"^s3://.+$", max_length=1024)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class ModelRef(ArtifactRef):
    """A model artifact with the name of its ModelVersion, as it appears in reports."""

    name: str


class ObjectRef(Document):
    """The resource on whose behalf a task runs, as it appears in messages."""

    kind: str
    namespace: str
    name: str
    uid: str = ""
    generation: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"
