"""Where a dataset's rows come from. Part of Dataset's spec and, resolved, of the prepare task."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tidemill.contract.base import Document
from tidemill.contract.columns import Column, InputName
from tidemill.contract.markers import cel, check_exactly_one, exactly_one, rules

FileFormat = Literal["parquet", "csv", "jsonl", "arrow"]
_PARENT_FOLDER = "path must lie inside the volume: write it without . and .. as the names of folders"


class S3Source(Document):
    """Objects of an S3 bucket."""

    uri: str = Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$", max_length=1024)
    """`s3://bucket/key`, a glob (`*` and `?` within a folder, `**` across folders) or a prefix ending in `/`."""
    format: FileFormat = "parquet"
    """File format; `csv` and `jsonl` may be compressed (.gz, .zst); `arrow` is Arrow IPC, as file (Feather V2) or stream."""
    secret_name: str | None = Field(default=None, max_length=253)
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, when not the namespace's store credentials."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://.+$", max_length=512)
    """S3 endpoint, when not the artifact store's."""


class HttpSource(Document):
    """One file of a web server, pinned by its hash: another content is refused."""

    url: str = Field(pattern=r"^https?://[^/?#@\s]+/[^#\s]+$", max_length=2048)
    """`https://…` or `http://…`, without a user name or password in it. Redirects are followed."""
    sha256: str = Field(pattern=r"^[0-9a-fA-F]{64}$")
    """Hash of the file's bytes as `sha256sum` prints it: 64 hexadecimal digits."""
    format: FileFormat = "parquet"
    """File format; `csv` and `jsonl` may be compressed (.gz, .zst); `arrow` is Arrow IPC, as file (Feather V2) or stream."""
    secret_name: str | None = Field(default=None, max_length=253)
    """Secret whose key `authorization` is sent as the header of that name (`Bearer …`), to this URL's host only."""


class VolumeSource(Document):
    """Files of a PersistentVolumeClaim, which the Job mounts read-only."""

    model_config = ConfigDict(
        json_schema_extra=rules(cel("!self.path.matches('(^|/)\\\\.{1,2}(/|$)')", _PARENT_FOLDER, field=".path"))
    )

    claim_name: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)
    """A claim of the Dataset's namespace."""
    path: str = Field(pattern=r"^[^/].*$", max_length=1024)
    """Below the volume's root: a file, a glob (`*` and `?` within a folder, `**` across folders) or a folder ending in `/`."""
    format: FileFormat = "parquet"
    """File format; `csv` and `jsonl` may be compressed (.gz, .zst); `arrow` is Arrow IPC, as file (Feather V2) or stream."""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if {".", ".."} & set(self.path.split("/")):
            raise ValueError(_PARENT_FOLDER)
        return self


class DatasetSource(Document):
    """All splits of another Dataset's version, one after the other."""

    name: str = Field(min_length=1, max_length=253)
    """A Dataset of the same namespace."""
    digest: str | None = Field(default=None, pattern=r"^sha256:[0-9a-f]{64}$")
    """A fixed version; without it the newest one."""


class LabelSource(Document):
    """Labels that arrive late, joined to logged requests by request id."""

    s3: S3Source
    request_id_column: Column = "request_id"
    """Column of the label files that holds the request's id."""


class InferenceLogSource(Document):
    """Requests that a Deployment answered and logged; with `labels` only those whose label has arrived."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!has(self.since) || !has(self.until) || self.since < self.until", "since must lie before until",
                field=".since"),
        )
    )  # fmt: skip

    deployment: str = Field(min_length=1, max_length=253)
    """An online Deployment of the same namespace."""
    labels: LabelSource | None = None
    newest_rows: int | None = Field(default=None, ge=1)
    """Only so many of the newest rows."""
    since: str | None = Field(default=None, max_length=40, json_schema_extra={"format": "date-time"})
    """Only requests answered at or after this time (RFC 3339)."""
    until: str | None = Field(default=None, max_length=40, json_schema_extra={"format": "date-time"})
    """Only requests answered before this time (RFC 3339)."""


class Input(Document):
    """A named table that the transform sees."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("s3", "http", "volume", "dataset", "inferenceLog")))

    name: InputName
    """The table's name in SQL."""
    s3: S3Source | None = None
    http: HttpSource | None = None
    volume: VolumeSource | None = None
    dataset: DatasetSource | None = None
    inference_log: InferenceLogSource | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_exactly_one(self, "s3", "http", "volume", "dataset", "inference_log")
        return self
