"""The body of a watch: events are taken in here, kopf gets the rest and a bookmark."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from tidemill.runtime.stream import EventStream

pytestmark = pytest.mark.asyncio
GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}
BOOKMARK = {"type": "BOOKMARK", "object": {"kind": "Job", "metadata": {"resourceVersion": "90"}}}


class Body:
    """A response's body that arrives in these chunks."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk

    def exception(self) -> BaseException | None:
        return None

    def set_exception(self, exc: BaseException, /) -> None:
        raise AssertionError(exc)


class Taken(list[tuple[str, str]]):
    """What was observed; an object by the name of “poison” cannot be."""

    def __call__(self, change: str, obj: dict[str, Any]) -> None:
        if obj["metadata"]["name"] == "poison":
            raise KeyError("spec")
        self.append((change, obj["metadata"]["name"]))


def event(change: str, name: str, version: int) -> dict[str, Any]:
    return {"type": change, "object": {"kind": "Job", "metadata": {"name": name, "resourceVersion": str(version)}}}


def lines(*documents: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(document) + b"\n" for document in documents)


async def given_to_kopf(taken: Taken, *chunks: bytes) -> list[list[dict[str, Any]]]:
    """What kopf is given, chunk by chunk."""
    stream = EventStream(Body(*chunks), taken)
    return [[orjson.loads(line) for line in chunk.splitlines()] async for chunk in stream.iter_chunked(1024)]


def at(version: str) -> dict[str, Any]:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": version}}}


async def test_events_are_taken_in_and_kopf_learns_where_the_watch_is() -> None:
    taken = Taken()
    given = await given_to_kopf(
        taken, lines(event("ADDED", "a", 3), event("MODIFIED", "a", 4)), lines(event("DELETED", "a", 7))
    )
    assert taken == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert given == [[at("4")], [at("7")]]


async def test_lines_may_arrive_in_pieces() -> None:
    text, taken = lines(event("ADDED", "a", 3), event("ADDED", "b", 4)), Taken()
    given = await given_to_kopf(taken, *(text[i : i + 7] for i in range(0, len(text), 7)))
    assert taken == [("ADDED", "a"), ("ADDED", "b")]
    assert given == [[at("3")], [at("4")]]


async def test_errors_and_bookmarks_are_kopfs() -> None:
    taken = Taken()
    given = await given_to_kopf(taken, lines(BOOKMARK), lines(event("ADDED", "a", 91), GONE))
    assert given[0] == [BOOKMARK]
    assert given[1] == [at("91"), GONE]
    assert taken == [("ADDED", "a")]


async def test_an_object_that_cannot_be_read_does_not_end_the_watch(caplog: pytest.LogCaptureFixture) -> None:
    taken = Taken()
    with caplog.at_level(logging.ERROR, "tidemill.informer"):
        given = await given_to_kopf(taken, lines(event("ADDED", "poison", 3), event("ADDED", "b", 4)))
    assert taken == [("ADDED", "b")]
    assert given == [[at("4")]]
    assert "Job None/poison could not be taken in" in caplog.text


async def test_others_get_their_turn_in_a_burst() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await given_to_kopf(Taken(), lines(*(event("ADDED", f"n{i}", i) for i in range(1, 321))))
    counting.cancel()
    assert turns >= 10


async def test_closing_the_response_ends_the_reading() -> None:
    """kopf closes a watch that it wants no more, in the middle of a read."""

    async def watched(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(lines(event("ADDED", "a", 5)))
        await asyncio.sleep(60)
        return response

    app = web.Application()
    app.router.add_get("/", watched)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    taken = Taken()
    async with aiohttp.ClientSession() as session:
        response = await session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        response.content = EventStream(response.content, taken)  # type: ignore[assignment]
        chunks = response.content.iter_chunked(1024)
        assert await anext(aiter(chunks)) == lines(at("5"))
        reading = asyncio.ensure_future(anext(aiter(chunks)))
        await asyncio.sleep(0)
        response.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await reading
    await runner.cleanup()
    assert taken == [("ADDED", "a")]
