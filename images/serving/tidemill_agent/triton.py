"""Triton's HTTP API: health, repository index, load and unload, metadata, statistics, inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from tidemill_agent.errors import TritonRefused, TritonUnavailable

QUICK = aiohttp.ClientTimeout(total=5)
INFERENCE = aiohttp.ClientTimeout(total=30)
SLOW = aiohttp.ClientTimeout(total=300)
"""A load reads the model and builds its session; a large one takes its time."""
HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """A model version that Triton knows. `state` is READY, LOADING, UNLOADING, UNAVAILABLE or empty."""

    name: str
    version: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An inference's answer: the JSON header and the binary tensors after it."""

    header: dict[str, Any]
    body: bytes


class Triton:
    """One server."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url.rstrip("/")

    async def live(self) -> bool:
        """Whether the server answers.

        Not its readiness: by default Triton calls itself unready while any model loads, or when one cannot be loaded.
        """
        return await self._found("/v2/health/live")

    async def model_ready(self, name: str, version: int) -> bool:
        """Whether a version of a model answers inferences. Raises TritonUnavailable when the server does not answer."""
        try:
            await self._call("GET", f"/v2/models/{name}/versions/{version}/ready", timeout=QUICK)
        except TritonRefused:
            return False
        return True

    async def version(self) -> tuple[int, ...]:
        """The server's version: (2, 51, 0)."""
        text = orjson.loads((await self._call("GET", "/v2", timeout=QUICK))[0])["version"]
        return tuple(int(part) for part in text.split(".") if part.isdigit())

    async def index(self) -> list[IndexEntry]:
        """Every model in the repository, loaded or not."""
        body, _ = await self._call("POST", "/v2/repository/index", timeout=QUICK)
        return [
            IndexEntry(
                name=entry["name"],
                version=entry.get("version", ""),
                state=entry.get("state", ""),
                reason=entry.get("reason", ""),
            )
            for entry in orjson.loads(body)
        ]

    async def load(self, name: str) -> None:
        """Load a model from its folder, or swap to what the folder now holds; returns when it is done."""
        await self._call("POST", f"/v2/repository/models/{name}/load", timeout=SLOW)

    async def unload(self, name: str) -> None:
        """Unload a model; requests in flight are finished first, after this call has returned."""
        await self._call("POST", f"/v2/repository/models/{name}/unload", timeout=SLOW)

    async def metadata(self, name: str, version: int) -> dict[str, Any]:
        """Inputs and outputs as clients see them."""
        body, _ = await self._call("GET", f"/v2/models/{name}/versions/{version}", timeout=QUICK)
        found: dict[str, Any] = orjson.loads(body)
        return found

    async def config(self, name: str, version: int) -> dict[str, Any]:
        """The configuration in force."""
        body, _ = await self._call("GET", f"/v2/models/{name}/versions/{version}/config", timeout=QUICK)
        found: dict[str, Any] = orjson.loads(body)
        return found

    async def trace_setting(self) -> dict[str, Any]:
        """The server's own trace settings."""
        body, _ = await self._call("GET", "/v2/trace/setting", timeout=QUICK)
        found: dict[str, Any] = orjson.loads(body)
        return found

    async def trace(self, name: str, *, rate: int, log_frequency: int) -> None:
        """Trace every `rate`-th request of a model with its tensors, or none; what was traced before is written out."""
        settings = {
            "trace_level": ["TIMESTAMPS", "TENSORS"] if rate else ["OFF"],
            "trace_rate": str(max(rate, 1)),
            "trace_count": "-1",
            "log_frequency": str(log_frequency),
        }
        await self._call("POST", f"/v2/models/{name}/trace/setting", timeout=QUICK, data=orjson.dumps(settings))

    async def requests(self) -> dict[str, int]:
        """Answered inferences by model, over its loaded versions, since each was loaded."""
        body, _ = await self._call("GET", "/v2/models/stats", timeout=SLOW)
        found: dict[str, int] = {}
        for entry in orjson.loads(body)["model_stats"]:
            found[entry["name"]] = found.get(entry["name"], 0) + int(entry["inference_stats"]["success"]["count"])
        return found

    async def failures(self) -> dict[tuple[str, str], int]:
        """Failed inferences by model and version, since each was loaded."""
        body, _ = await self._call("GET", "/v2/models/stats", timeout=SLOW)
        return {
            (entry["name"], entry["version"]): int(entry["inference_stats"]["fail"]["count"])
            for entry in orjson.loads(body)["model_stats"]
        }

    async def infer(self, name: str, version: int, header: dict[str, Any], tensors: bytes) -> Answer:
        """One inference with binary tensors both ways."""
        text = orjson.dumps(header)
        body, headers = await self._call(
            "POST",
            f"/v2/models/{name}/versions/{version}/infer",
            timeout=INFERENCE,
            data=text + tensors,
            headers={HEADER_LENGTH: str(len(text)), "Content-Type": "application/octet-stream"},
        )
        split = int(headers.get(HEADER_LENGTH, len(body)))
        return Answer(header=orjson.loads(body[:split]), body=body[split:])

    async def _found(self, path: str) -> bool:
        try:
            await self._call("GET", path, timeout=QUICK)
        except (TritonRefused, TritonUnavailable):
            return False
        return True

    async def _call(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[bytes, dict[str, str]]:
        try:
            async with self._session.request(
                method, self._url + path, data=data, headers=headers, timeout=timeout
            ) as response:
                body = await response.read()
                if response.status >= 400:
                    raise TritonRefused(_message(response.status, body))
                return body, dict(response.headers)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise TritonUnavailable(f"Triton does not answer {path}: {error or type(error).__name__}") from error


def _message(status: int, body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"Triton answered {status} {body[:200].decode(errors='replace')}".strip()
