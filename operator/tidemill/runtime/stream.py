"""The body of a watch, read where it arrives: events go to the intake, and kopf gets what it needs to keep the watch open.

kopf parses each line, starts a task for each object and passes several layers to one handler. That takes seventeen times the
CPU of what is done here (docs/decisions/0008), and our one handler needs none of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import orjson

Observe = Callable[[str, dict[str, Any]], None]
"""Called with an event's type (ADDED, MODIFIED, DELETED) and its object."""
_TURN = 32
"""So many events are handled before others get their turn of the event loop: some milliseconds."""
_EVENTS = frozenset({"ADDED", "MODIFIED", "DELETED"})
_log = logging.getLogger("tidemill.informer")


class Body(Protocol):
    """The body of a response, as aiohttp has it."""

    def iter_chunked(self, n: int, /) -> AsyncIterator[bytes]:
        """The bytes as they come."""

    def exception(self) -> BaseException | None:
        """What reading raises from now on."""

    def set_exception(self, exc: BaseException, /) -> None:
        """Let reading raise: aiohttp does so when the response is closed."""


class EventStream:
    """Stands for the body of a watch's response, of which kopf uses `iter_chunked` alone, and aiohttp the exception.

    kopf is given every line that is not an event (errors, bookmarks), and after events a bookmark with the resourceVersion
    of the last of them: it is where kopf begins when it connects again, and it shows kopf that the watch is not silent.
    """

    def __init__(self, content: Body, observe: Observe) -> None:
        self._content = content
        self._observe = observe

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Whole lines for kopf. Raises what reading the response raises."""
        rest = b""
        async for chunk in self._content.iter_chunked(size):
            *lines, rest = (rest + chunk).split(b"\n")
            handled, version, passed = 0, "", []
            for line in lines:
                event = orjson.loads(line) if line else {}
                if event.get("type") not in _EVENTS:
                    passed.append(line)
                    continue
                version = self._take(event["type"], event["object"]) or version
                handled += 1
                if handled % _TURN == 0:
                    await asyncio.sleep(0)
            if version:
                passed.insert(
                    0, orjson.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}})
                )
            if passed:
                yield b"\n".join(passed) + b"\n"

    def exception(self) -> BaseException | None:
        """That of the body."""
        return self._content.exception()

    def set_exception(self, exc: BaseException) -> None:
        """Set that of the body."""
        self._content.set_exception(exc)

    def _take(self, type_: str, obj: dict[str, Any]) -> str:
        meta = obj["metadata"]
        try:
            self._observe(type_, obj)
        except Exception:  # one object that we cannot read must not end the watch of the others
            _log.exception("%s %s/%s could not be taken in", obj.get("kind"), meta.get("namespace"), meta.get("name"))
        return str(meta.get("resourceVersion", ""))
