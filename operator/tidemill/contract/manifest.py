"""The manifest that makes a folder in the store an immutable artifact, and the provenance beside it."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.canonical import canonical_json, digest

MANIFEST = "manifest.json"
PROVENANCE = "provenance.json"


class FileEntry(Document):
    """One file of an artifact; `path` is relative to the artifact's folder."""

    path: str = Field(pattern=r"^[^/].*$", max_length=512)
    size: int = Field(ge=0)
    """Bytes."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    media_type: str = "application/octet-stream"

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if ".." in self.path.split("/"):
            raise ValueError(f"path {self.path!r} leaves the artifact's folder")
        return self


class Manifest(Document):
    """The files of an artifact. Its digest is the artifact's: equal content has an equal digest wherever it was made.

    Provenance is not a listed file: it holds times and names of machines, which differ between equal artifacts.
    """

    media_type: str = "application/vnd.tidemill.artifact.v1+json"
    kind: str
    """`dataset`, `model`, `variant`, `export`, `bundle`, `scores` or `report`."""
    files: tuple[FileEntry, ...]

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        paths = [f.path for f in self.files]
        if paths != sorted(set(paths)):
            raise ValueError("files must be sorted by path, each path once")
        return self

    def canonical(self) -> bytes:
        """The bytes that are stored and hashed."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the canonical bytes."""
        return digest(self.model_dump(mode="json", by_alias=True))

    def file(self, path: str) -> FileEntry:
        """The entry of a path. Raises KeyError when the artifact has no such file."""
        for entry in self.files:
            if entry.path == path:
                return entry
        raise KeyError(path)


class Provenance(Document):
    """What made an artifact: the shape of an in-toto Statement v1 with a SLSA provenance predicate, flattened."""

    subject_digest: str
    builder_image: str = ""
    task: dict[str, Any]
    inputs: dict[str, str] = {}
    """URI → digest of everything that was read."""
    seed: int | None = None
    started_at: str
    finished_at: str
    versions: dict[str, str] = {}
    """Package → version of the libraries that decide the content."""
