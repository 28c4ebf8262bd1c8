"""The artifact store, as far as a user may read it: where it is, with whose keys, and the few files that are shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.client import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from tidemill.contract.names import ENV_STORE_ENDPOINT, ENV_STORE_REGION
from tidemill_cli.cluster import Cluster
from tidemill_cli.errors import Failure, StoreUnreadable

DEFAULT_SECRET = "tidemill-store"
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_ABSENT = {"404", "NoSuchKey"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach the store."""

    endpoint: str | None
    """None: AWS itself."""
    region: str
    keys: Mapping[str, str]
    """AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, perhaps AWS_SESSION_TOKEN; empty: whatever the AWS library finds."""
    whose: str
    """Where the keys come from, for messages."""


def find_access(
    cluster: Cluster, environment: Mapping[str, str], *, endpoint: str | None = None, secret: str = DEFAULT_SECRET
) -> Access:
    """Keys of the environment (AWS_*), else of the namespace's Secret; the endpoint as named, else from the same places, else
    from one of Tidemill's Jobs in the namespace. Raises StoreUnreadable when somebody may not read what is needed."""
    given = {name: environment[name] for name in (*_KEYS, "AWS_SESSION_TOKEN") if environment.get(name)}
    found: Mapping[str, str] = environment
    whose = "the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    try:
        if not all(name in given for name in _KEYS) and not environment.get("AWS_PROFILE"):
            held = cluster.secret(secret) or {}
            given = {name: held[name] for name in (*_KEYS, "AWS_SESSION_TOKEN") if held.get(name)}
            found = {**held, **environment}
            whose = f"Secret {secret} of namespace {cluster.namespace}"
        place = endpoint or next((found[name] for name in _ENDPOINTS if found.get(name)), None)
        region = found.get("AWS_REGION") or found.get("AWS_DEFAULT_REGION")
        if place is None:
            pod = cluster.task_environment()
            place, region = pod.get(ENV_STORE_ENDPOINT), region or pod.get(ENV_STORE_REGION)
    except Failure as error:
        raise StoreUnreadable(
            f"{error}; or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and name the store by --endpoint"
        ) from error
    return Access(endpoint=place, region=region or "us-east-1", keys=given, whose=whose)


class Store:
    """Reads small objects; the first failure is remembered, so that a store that is away is waited for once."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=access.endpoint,
            region_name=access.region,
            aws_access_key_id=access.keys.get(_KEYS[0]),
            aws_secret_access_key=access.keys.get(_KEYS[1]),
            aws_session_token=access.keys.get("AWS_SESSION_TOKEN"),
            config=Config(
                connect_timeout=3, read_timeout=20, retries={"max_attempts": 2}, s3={"addressing_style": "path"}
            ),
        )
        self._broken: StoreUnreadable | None = None

    def read(self, uri: str) -> bytes | None:
        """An object, or None when there is none. Raises StoreUnreadable."""
        if self._broken is not None:
            raise self._broken
        match = re.fullmatch(r"s3://([^/]+)/(.+)", uri)
        if match is None:
            raise StoreUnreadable(f"{uri!r} is not an S3 URI")
        try:
            body: bytes = self._client.get_object(Bucket=match[1], Key=match[2])["Body"].read()
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _ABSENT:
                return None
            self._broken = StoreUnreadable(
                f"{self._place} refused to read {uri} ({code}) with the keys of {self._access.whose}"
            )
            raise self._broken from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            self._broken = StoreUnreadable(
                f"there are no keys for {self._place}: {self._access.whose} must hold AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or the environment"
            )
            raise self._broken from error
        except (BotoCoreError, ValueError) as error:
            self._broken = StoreUnreadable(f"{self._place} does not answer: {error}{self._hint}")
            raise self._broken from error
        return body

    @property
    def _place(self) -> str:
        return f"the store {self._access.endpoint or 'AWS S3 (no endpoint was found: name one by --endpoint)'}"

    @property
    def _hint(self) -> str:
        """A name that only pods can resolve is the usual reason."""
        host = urlsplit(self._access.endpoint or "").hostname or ""
        if ".svc" not in host and "." in host:
            return ""
        return ": if only pods reach it, use kubectl port-forward and name what it prints by --endpoint"


def connect(cluster: Cluster, *, endpoint: str | None, secret: str) -> Store:
    """The namespace's store. Raises StoreUnreadable when it is not known how to reach it."""
    access = find_access(cluster, os.environ, endpoint=endpoint, secret=secret)
    try:
        return Store(access)
    except ValueError as error:  # botocore's word for an endpoint that is no URL
        raise StoreUnreadable(
            f"the store's endpoint {access.endpoint!r} is no URL such as https://s3.example.org: {error}"
        ) from error
