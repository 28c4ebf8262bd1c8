"""httpx with h2: all calls are streams of one connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import orjson
from tests.bench.clients.candidates.plain import CONTENT_TYPES, METHODS, Plain
from tests.bench.clients.objects import runs_path

from tidemill.kube.config import load


class Candidate(Plain):
    """httpx's AsyncClient."""

    async def open(self) -> None:
        connection = load()
        assert connection.tls is not None
        self._client = httpx.AsyncClient(
            base_url=connection.server, verify=connection.tls, http1=False, http2=True, timeout=60.0
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def send(self, verb: str, path: str, query: Mapping[str, str], body: Any = None) -> Any:
        headers = {"Content-Type": CONTENT_TYPES[verb]} if verb in CONTENT_TYPES else {}
        data = None if body is None else orjson.dumps(body)
        answer = await self._client.request(METHODS[verb], path, params=query, content=data, headers=headers)
        answer.raise_for_status()
        return orjson.loads(answer.content)

    async def watch(self, namespace: str, count: int) -> int:
        seen = 0
        rest = b""
        async with self._client.stream("GET", runs_path(namespace), params={"watch": "true"}) as answer:
            async for chunk in answer.aiter_bytes():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    seen += bool(orjson.loads(line)["object"]["metadata"]["name"])
                if seen == count:
                    break
        return seen
