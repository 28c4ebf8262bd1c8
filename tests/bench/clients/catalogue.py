"""What is compared: every client, and every variant of ours, by the name that the table shows."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

STEPS = ("import", "list_pages", "list_whole", "list_models", "watch", "create", "apply", "patch")
"""Each is done in a process of its own; the last three in this order on the same objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A client: the module of `candidates` that drives it, and what is different in this variant."""

    module: str
    what: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the module's `Candidate`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    """Modules that shall not be found: kopf imports other clients where it finds them, for their models' types."""
    uvloop: bool = False
    steps: tuple[str, ...] = STEPS

    def load(self) -> ModuleType:
        """Import the client."""
        sys.modules.update(dict.fromkeys(self.absent))  # type: ignore[arg-type]
        return importlib.import_module(f"tests.bench.clients.candidates.{self.module}")


CLIENTS: Mapping[str, Entry] = {
    "kubernetes": Entry(module="official", what="the official client, 16 threads"),
    "kubernetes-asyncio": Entry(module="official_asyncio", what="its asyncio twin"),
    "lightkube": Entry(module="lightkube_async", what="AsyncClient, generic resources"),
    "kr8s": Entry(
        module="kr8s_async",
        what="kr8s.asyncio; pages of 100 only, no server-side apply (sent through its call_api)",
        steps=tuple(step for step in STEPS if step != "list_whole"),
    ),
    "tidemill": Entry(module="ours", what="ours: aiohttp and orjson"),
}
_CLIENTS = ("kubernetes", "kubernetes_asyncio")
_WRITES = ("import", "list_pages", "watch", "create", "apply", "patch")
VARIANTS: Mapping[str, Entry] = {
    "tidemill, uvloop": Entry(module="ours", what="uvloop as event loop", uvloop=True),
    "tidemill, parser in Python": Entry(
        module="ours",
        what="aiohttp without its C extensions",
        environment={"AIOHTTP_NO_EXTENSIONS": "1"},
        steps=_WRITES,
    ),
    "tidemill, msgspec": Entry(module="ours", what="msgspec in place of orjson", options={"codec": "msgspec"}),
    "tidemill, json": Entry(module="ours", what="json in place of orjson", options={"codec": "json"}),
    "tidemill, 4 connections": Entry(
        module="ours",
        what="4 connections in place of 16",
        options={"connections": 4},
        steps=("create", "apply", "patch"),
    ),
    "httpx, HTTP/2": Entry(module="http2", what="httpx, h2 and orjson: one connection for all calls"),
    "asyncio, httptools": Entry(
        module="bare", what="sockets, httptools and orjson: what is left without a client library", steps=_WRITES
    ),
    "asyncio, httptools, uvloop": Entry(module="bare", what="the same on uvloop", uvloop=True, steps=_WRITES),
    "kopf": Entry(
        module="kopf_watch", what="what watches for the operator", absent=_CLIENTS, steps=("import", "watch")
    ),
    "kopf, tapped": Entry(
        module="kopf_watch",
        what="kopf follows the watch, its events are taken from the response",
        absent=_CLIENTS,
        options={"tapped": True},
        steps=("import", "watch"),
    ),
    "kopf, uvloop": Entry(
        module="kopf_watch", what="the same on uvloop", absent=_CLIENTS, uvloop=True, steps=("import", "watch")
    ),
}
ALL: Mapping[str, Entry] = {**CLIENTS, **VARIANTS}
