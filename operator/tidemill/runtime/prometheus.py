"""Asking Prometheus: one range query, its answer as numbers by labels."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from tidemill.runtime.settings import PrometheusSettings, SettingsError

Labels = dict[str, str]


class PrometheusError(Exception):
    """Prometheus did not answer, or refused the query."""


class Prometheus:
    """A client for query_range. Use as an asynchronous context manager."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        self._tls: ssl.SSLContext | bool = True
        if settings.ca_file:
            try:
                self._tls = ssl.create_default_context(cafile=settings.ca_file)
            except ssl.SSLError as error:
                raise _unusable("caFile", settings.ca_file, "no certificate in PEM format") from error
            except OSError as error:
                raise _unusable("caFile", settings.ca_file, error.strerror) from error
        if settings.token_file:
            try:
                if not Path(settings.token_file).read_text().strip():
                    raise _unusable("tokenFile", settings.token_file, "is empty")
            except UnicodeDecodeError as error:
                raise _unusable("tokenFile", settings.token_file, "is not text") from error
            except OSError as error:
                raise _unusable("tokenFile", settings.token_file, error.strerror) from error
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=4, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def query_range(
        self, expression: str, *, start: int, end: int, step: int
    ) -> list[tuple[Labels, dict[int, float]]]:
        """Each series with its values by time. Raises PrometheusError."""
        if self._session is None:
            raise RuntimeError("use the client as an asynchronous context manager")
        url = f"{self._settings.url.rstrip('/')}/api/v1/query_range"
        form = {"query": expression, "start": str(start), "end": str(end), "step": str(step)}
        headers = {}
        try:
            if self._settings.token_file:
                headers["Authorization"] = f"Bearer {Path(self._settings.token_file).read_text().strip()}"
            async with self._session.post(url, data=form, headers=headers) as response:
                raw = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise PrometheusError(f"{self._settings.url} cannot be reached: {error or type(error).__name__}") from error
        return _decode(raw, response.status)


def _unusable(name: str, file: str, why: str | None) -> SettingsError:
    return SettingsError(
        f"prometheus.{name}: {file}: {why}: give a file that the operator can read, or leave it out",
        key=f"prometheus.{name}",
    )


def _decode(raw: bytes, status: int) -> list[tuple[Labels, dict[int, float]]]:
    try:
        answer: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise PrometheusError(f"HTTP {status}, and not JSON: is this a Prometheus?") from None
    if not isinstance(answer, dict) or answer.get("status") != "success":
        text = answer.get("error") if isinstance(answer, dict) else None
        raise PrometheusError(f"HTTP {status}: {text or 'no reason given'}")
    return [
        (series["metric"], {round(float(at)): float(value) for at, value in series["values"]})
        for series in answer["data"]["result"]
    ]
