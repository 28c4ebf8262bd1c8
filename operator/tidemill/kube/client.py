"""The client: one pooled session, typed errors, bounded retries, hooks for metrics and for the lease."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from tidemill.kube.config import Connection
from tidemill.kube.errors import ApiError, ConnectionFailed
from tidemill.kube.ratelimit import RateLimiter

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
Verb = Literal["get", "list", "create", "update", "patch", "apply", "delete"]
_METHODS: dict[Verb, str] = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "apply": "PATCH",
    "delete": "DELETE",
}
_READS = frozenset({"get", "list"})
_RETRIED = frozenset({429, 500, 502, 503, 504})
_MAX_RETRY_AFTER = 30.0

Hook = Callable[[str, str, str, float], None]
"""Called after every attempt with verb, kind, HTTP status (or the name of the failure) and seconds."""
Guard = Callable[[], float | None]
"""Called before every attempt to write; raises to hold it back, or gives the most seconds that it may take."""


class Client:
    """Requests to one API server. Use as an asynchronous context manager."""

    def __init__(
        self,
        connection: Connection,
        *,
        user_agent: str = "tidemill",
        connections: int = 32,
        timeout: float = 15.0,
        attempts: int = 5,
        backoff: float = 0.2,
        hook: Hook | None = None,
        guard: Guard | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        self.connection = connection
        self._timeout = timeout
        self._attempts = attempts
        self._backoff = backoff
        self._hook = hook
        self._guard = guard
        self._limiter = limiter
        self._connections = connections
        # In a cluster the network is quicker than gzip on a small CPU share: ask for plain answers.
        self._headers = {"Accept": JSON, "Accept-Encoding": "identity", "User-Agent": user_agent}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        tls = self.connection.tls
        connector = aiohttp.TCPConnector(
            limit=self._connections, ssl=tls if tls is not None else False, keepalive_timeout=60
        )
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        verb: Verb,
        path: str,
        *,
        kind: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str | None = None,
        timeout: float | None = None,
        attempts: int | None = None,
    ) -> Any:
        """The decoded answer. Raises ApiError, ConnectionFailed, or what the guard raises."""
        url = URL(f"{self.connection.server}{path}{'?' + urlencode(query) if query else ''}", encoded=True)
        headers = self._request_headers(content_type if body is not None else None, accept)
        data = None if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        total = attempts or self._attempts
        for attempt in range(1, total + 1):
            if self._limiter is not None:
                await self._limiter.wait()  # before the guard is asked: the lease may be lost meanwhile
            allowed = timeout or self._timeout
            if verb not in _READS and self._guard is not None and (most := self._guard()) is not None:
                allowed = min(allowed, most)
            started = time.perf_counter()
            try:
                status, retry_after, raw = await self._once(_METHODS[verb], url, headers, data, allowed)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self._record(verb, kind, type(error).__name__, started)
                if attempt == total:
                    raise ConnectionFailed(f"{verb} {path}: {error or type(error).__name__}") from error
                await self._sleep(attempt, None)
                continue
            self._record(verb, kind, str(status), started)
            if status < 400:
                return orjson.loads(raw) if raw else None
            if status not in _RETRIED or attempt == total:
                raise _api_error(status, raw, f"{verb} {path}")
            await self._sleep(attempt, retry_after)
        raise AssertionError("the loop above returns or raises")

    async def _once(
        self, method: str, url: URL, headers: Mapping[str, str], data: bytes | None, timeout: float
    ) -> tuple[int, str | None, bytes]:
        if self._session is None:
            raise RuntimeError("use the client as an asynchronous context manager")
        async with self._session.request(
            method, url, headers=headers, data=data, timeout=aiohttp.ClientTimeout(total=timeout)
        ) as response:
            return response.status, response.headers.get("Retry-After"), await response.read()

    def _request_headers(self, content_type: str | None, accept: str | None) -> dict[str, str]:
        headers: dict[str, str] = {}
        if content_type:
            headers["Content-Type"] = content_type
        if accept:
            headers["Accept"] = accept
        if self.connection.token is not None:
            headers["Authorization"] = f"Bearer {self.connection.token.get()}"
        return headers

    def _record(self, verb: str, kind: str, code: str, started: float) -> None:
        if self._hook is not None:
            self._hook(verb, kind, code, time.perf_counter() - started)

    async def _sleep(self, attempt: int, retry_after: str | None) -> None:
        delay = self._backoff * 2 ** (attempt - 1) * (0.5 + random.random())
        if retry_after is not None:
            try:
                # Jitter only upwards: the server's wish is the least to wait.
                delay = max(delay, min(float(retry_after), _MAX_RETRY_AFTER) * (1 + random.random() / 4))
            except ValueError:
                delay = max(delay, 1.0)  # an HTTP date: the API server never sends one, a proxy may
        await asyncio.sleep(delay)


def _api_error(status: int, raw: bytes, what: str) -> ApiError:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        text = raw[:200].decode(errors="replace").strip()
        return ApiError(status=status, reason="Unknown", message=text or "no body", what=what)
    return ApiError(
        status=status,
        reason=document.get("reason") or "Unknown",
        message=document.get("message") or "",
        what=what,
        details=document.get("details"),
    )
