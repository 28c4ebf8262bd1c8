"""The artifact store: any S3 API. Errors come out in the user's terms; content is hashed while it streams."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from tidemill.contract import names
from tidemill_worker.errors import AccessDenied, InvalidSpec, ObjectNotFound, StoreUnavailable, TaskError
from tidemill_worker.patterns import Pattern
from tidemill_worker.progress import Tracker

CHUNK = 1 << 20
_DENIED = {
    "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken",
    "AllAccessDisabled", "AccountProblem", "AuthorizationHeaderMalformed", "RequestTimeTooSkewed",
}  # fmt: skip
_ABSENT = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
_TRANSFER = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=32 << 20, max_concurrency=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object as a listing shows it."""

    uri: str
    size: int
    modified: datetime
    etag: str = ""
    """What the store says of the content; changes with it."""


def parse(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    match = re.fullmatch(r"s3://([^/]+)/(.*)", uri)
    if not match:
        raise InvalidSpec(f"{uri!r} is not an S3 URI: write s3://bucket/key")
    return match[1], match[2]


@contextmanager
def _in_users_terms(uri: str, secret: str) -> Iterator[None]:
    """Turn boto's exceptions into the task's: what exists, who may, and whether a retry helps."""
    try:
        yield
    except ClientError as error:
        raise _translate(error, uri, secret) from error
    except S3UploadFailedError as error:
        cause = error.__context__
        raise (
            _translate(cause, uri, secret) if isinstance(cause, ClientError) else _unreachable(uri, error)
        ) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise AccessDenied(
            f"no credentials for {uri}: {secret} must hold AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except ParamValidationError as error:
        raise InvalidSpec(f"{uri} cannot be a store address: {error}") from error
    except (HTTPClientError, ConnectionError, BotoCoreError) as error:
        raise _unreachable(uri, error) from error


def _unreachable(uri: str, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"the store does not answer for {uri}: {error}")


def _translate(error: ClientError, uri: str, secret: str) -> TaskError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _DENIED or status in (401, 403):
        return AccessDenied(f"the store refused access to {uri} ({code}): check the keys in {secret} and their rights")
    if code in _ABSENT or status == 404:
        what = f"the bucket of {uri}" if code == "NoSuchBucket" else uri
        return ObjectNotFound(f"{what} does not exist")
    return StoreUnavailable(f"the store answered {status} {code} for {uri}")


class Store:
    """One S3 endpoint with one set of credentials; `secret` says in errors where these come from."""

    def __init__(self, client: Any, tracker: Tracker, secret: str = "the namespace's store Secret") -> None:
        self._client = client
        self._tracker = tracker
        self._secret = secret

    @classmethod
    def connect(
        cls,
        tracker: Tracker,
        *,
        endpoint: str | None = None,
        credentials: tuple[str, str] | None = None,
        secret: str = "the namespace's store Secret",
    ) -> Store:
        """The namespace's store, or another endpoint or other credentials."""
        client = boto3.client(
            "s3",
            endpoint_url=endpoint or os.environ.get(names.ENV_STORE_ENDPOINT) or None,
            region_name=os.environ.get(names.ENV_STORE_REGION) or os.environ.get("AWS_REGION") or "us-east-1",
            aws_access_key_id=credentials[0] if credentials else None,
            aws_secret_access_key=credentials[1] if credentials else None,
            config=Config(
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=16,
                retries={"mode": "standard", "max_attempts": 4},
                signature_version="s3v4",  # also of addresses that are handed on
                s3={"addressing_style": "path"},
            ),
        )
        return cls(client, tracker, secret)

    def objects(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """Objects whose URI begins with the prefix, by key."""
        bucket, key = parse(prefix)
        arguments: dict[str, Any] = {"Bucket": bucket, "Prefix": key}
        if start_after:
            arguments["StartAfter"] = start_after
        with _in_users_terms(prefix, self._secret):
            for page in self._client.get_paginator("list_objects_v2").paginate(**arguments):
                for item in page.get("Contents", ()):
                    yield StoredObject(
                        uri=f"s3://{bucket}/{item['Key']}",
                        size=item["Size"],
                        modified=item["LastModified"],
                        etag=item["ETag"].strip('"'),
                    )

    def glob(self, uri: str) -> list[StoredObject]:
        """What a user's URI stands for: one object, a glob, or all files under a prefix ending in `/`, by key."""
        bucket, key = parse(uri)
        pattern = Pattern(key)
        found = self.objects(f"s3://{bucket}/{pattern.prefix}")
        return [o for o in found if pattern.matches(parse(o.uri)[1])]

    def exists(self, uri: str) -> bool:
        """Whether the object is there."""
        return self.read_or_none(uri) is not None

    def read(self, uri: str) -> bytes:
        """A small object as a whole."""
        bucket, key = parse(uri)
        with _in_users_terms(uri, self._secret):
            body: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        self._tracker.read(len(body))
        return body

    def read_or_none(self, uri: str) -> bytes | None:
        """A small object, or None when it (or its bucket) does not exist."""
        try:
            return self.read(uri)
        except ObjectNotFound:
            return None

    def download(self, uri: str, target: Path) -> str:
        """Stream an object into a file; returns the sha256 of what arrived."""
        bucket, key = parse(uri)
        hashed = hashlib.sha256()
        target.parent.mkdir(parents=True, exist_ok=True)
        with _in_users_terms(uri, self._secret), target.open("wb") as file:
            for chunk in self._client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(CHUNK):
                hashed.update(chunk)
                file.write(chunk)
                self._tracker.read(len(chunk))
        return hashed.hexdigest()

    def read_end(self, uri: str, size: int, length: int) -> bytes:
        """The last bytes of an object of `size` bytes: `length` of them, or all."""
        bucket, key = parse(uri)
        wanted = f"bytes={max(0, size - length)}-{size - 1}"
        with _in_users_terms(uri, self._secret):
            body: bytes = self._client.get_object(Bucket=bucket, Key=key, Range=wanted)["Body"].read()
        self._tracker.read(len(body))
        return body

    def url(self, uri: str, seconds: int) -> str:
        """An address that whoever has it can read this one object at, for so long, without credentials."""
        bucket, key = parse(uri)
        with _in_users_terms(uri, self._secret):
            made: str = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds
            )
        return made

    def upload(self, source: Path, uri: str, media_type: str) -> None:
        """Store a file, in parts when it is large."""
        bucket, key = parse(uri)
        with _in_users_terms(uri, self._secret):
            self._client.upload_file(str(source), bucket, key, ExtraArgs={"ContentType": media_type}, Config=_TRANSFER)
        self._tracker.written(source.stat().st_size)

    def put(self, uri: str, body: bytes, *, media_type: str = "application/json") -> None:
        """Store a small object, replacing what is there."""
        bucket, key = parse(uri)
        with _in_users_terms(uri, self._secret):
            self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=media_type)
        self._tracker.written(len(body))

    def put_if_absent(self, uri: str, body: bytes, *, media_type: str = "application/json") -> bool:
        """Store a small object unless one is there already; says whether this call stored it."""
        bucket, key = parse(uri)
        with _in_users_terms(uri, self._secret):
            try:
                self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=media_type, IfNoneMatch="*")
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (409, 412):
                    return False
                raise
        self._tracker.written(len(body))
        return True

    def delete(self, uri: str) -> None:
        """Remove an object; one that is not there is fine."""
        bucket, key = parse(uri)
        with _in_users_terms(uri, self._secret):
            self._client.delete_object(Bucket=bucket, Key=key)
