"""The artifact store: any S3 API. Blocking; callers run it in threads. Errors come out in the user's terms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError, PartialCredentialsError

from tidemill_agent.errors import AgentError, LoadError, ObjectNotFound, StoreUnavailable

CHUNK = 1 << 20


def parse(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`."""
    match = re.fullmatch(r"s3://([^/]+)/(.+)", uri)
    if not match:
        raise LoadError(f"{uri!r} is not an S3 URI: write s3://bucket/key")
    return match[1], match[2]


@contextmanager
def _in_users_terms(uri: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _translate(error, uri) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StoreUnavailable(
            f"no credentials for {uri}: the namespace's store Secret must hold AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except (BotoCoreError, HTTPClientError) as error:
        raise StoreUnavailable(f"the store does not answer for {uri}: {error}") from error


def _translate(error: ClientError, uri: str) -> AgentError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if status in (401, 403):
        return StoreUnavailable(
            f"the store refused access to {uri} ({code}): check the keys in the store Secret and their rights"
        )
    if status == 404:
        what = f"the bucket of {uri}" if code == "NoSuchBucket" else uri
        return ObjectNotFound(f"{what} does not exist")
    return StoreUnavailable(f"the store answered {status} {code} for {uri}")


class Store:
    """One S3 endpoint with the namespace's credentials (AWS_* variables or workload identity)."""

    def __init__(self, *, endpoint: str | None, region: str) -> None:
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            config=Config(
                connect_timeout=3,
                read_timeout=30,
                max_pool_connections=16,
                retries={"mode": "standard", "max_attempts": 3},
                s3={"addressing_style": "path"},
            ),
        )

    def read(self, uri: str) -> bytes:
        """A small object as a whole."""
        bucket, key = parse(uri)
        with _in_users_terms(uri):
            body: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def download(self, uri: str, target: Path) -> tuple[int, str]:
        """Stream an object into a file; returns size and sha256 of what arrived."""
        bucket, key = parse(uri)
        hashed, size = hashlib.sha256(), 0
        target.parent.mkdir(parents=True, exist_ok=True)
        with _in_users_terms(uri), target.open("wb") as file:
            for chunk in self._client.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(CHUNK):
                hashed.update(chunk)
                size += len(chunk)
                file.write(chunk)
        return size, hashed.hexdigest()

    def put(self, uri: str, body: bytes, *, media_type: str) -> None:
        """Store an object."""
        bucket, key = parse(uri)
        with _in_users_terms(uri):
            self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=media_type)
