"""LIST in pages, of whole objects or of their metadata alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from tidemill.kube.client import Client
from tidemill.kube.resources import ResourceType

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


async def pages(
    client: Client,
    type_: ResourceType,
    *,
    namespace: str | None = None,
    selector: str | None = None,
    fields: str | None = None,
    metadata_only: bool = False,
    limit: int = 500,
) -> AsyncIterator[tuple[list[dict[str, Any]], int]]:
    """The objects page by page, each page with the list's resourceVersion. An expired continue token raises ApiError 410."""
    token = ""
    while True:
        query = {"limit": str(limit)}
        if selector:
            query["labelSelector"] = selector
        if fields:
            query["fieldSelector"] = fields
        if token:
            query["continue"] = token
        answer = await client.request(
            "list",
            type_.path(namespace),
            kind=type_.kind,
            query=query,
            accept=METADATA_ONLY if metadata_only else None,
            timeout=60.0,
        )
        meta = answer.get("metadata") or {}
        items = answer.get("items") or []
        if not metadata_only:
            for item in items:  # items of a list carry no type of their own
                item["apiVersion"], item["kind"] = type_.api_version, type_.kind
        yield items, int(meta.get("resourceVersion") or 0)
        token = meta.get("continue") or ""
        if not token:
            return
