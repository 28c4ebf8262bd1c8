"""The steps for everything that knows HTTP only: paths, queries and content types are spelt here, once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from tests.bench.clients.objects import MANAGER, config_maps_path, runs_path

LINE_LIMIT = 2**21
"""A watch's lines are longer than what readers take by default."""
CONTENT_TYPES = {
    "create": "application/json",
    "apply": "application/apply-patch+yaml",
    "patch": "application/merge-patch+json",
}
METHODS = {"list": "GET", "create": "POST", "apply": "PATCH", "patch": "PATCH"}


class Plain(ABC):
    """Implement `send`, `open`, `close` and `watch`."""

    @abstractmethod
    async def send(self, verb: str, path: str, query: Mapping[str, str], body: Any = None) -> Any:
        """The decoded answer; raises when the API server refuses."""

    async def list_runs(self, namespace: str, page: int | None) -> int:
        return await self._list(runs_path(namespace), page)

    async def list_config_maps(self, namespace: str, page: int | None) -> int:
        return await self._list(config_maps_path(namespace), page)

    async def _list(self, path: str, page: int | None) -> int:
        count, token = 0, ""
        while True:
            query = {"limit": str(page)} if page else {}
            if token:
                query["continue"] = token
            answer = await self.send("list", path, query)
            count += len(answer["items"])
            token = answer["metadata"].get("continue", "")
            if not token:
                return count

    async def create(self, body: dict[str, Any]) -> None:
        await self.send("create", runs_path(body["metadata"]["namespace"]), {"fieldManager": MANAGER}, body)

    async def apply(self, body: dict[str, Any]) -> None:
        meta = body["metadata"]
        path = runs_path(meta["namespace"], meta["name"])
        await self.send("apply", path, {"fieldManager": MANAGER, "force": "true"}, body)

    async def patch(self, namespace: str, name: str, patch: dict[str, Any]) -> None:
        await self.send("patch", runs_path(namespace, name, "status"), {"fieldManager": MANAGER}, patch)
