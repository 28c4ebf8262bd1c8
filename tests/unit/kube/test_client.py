"""The client under faults: what is retried, how often, and what the error says."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import web
from tests.unit.kube.server import failure, scripted

from tidemill.kube.errors import ApiError, ConnectionFailed, NotLeader


def test_an_answer_is_decoded_and_the_token_sent() -> None:
    async def play() -> None:
        async with scripted(lambda _, __: web.json_response({"a": 1})) as (client, seen):
            assert await client.request("get", "/x", kind="Job", query={"labelSelector": "a=b"}) == {"a": 1}
            assert seen[0].headers["Authorization"] == "Bearer secret"
            assert seen[0].query == {"labelSelector": "a=b"}

    asyncio.run(play())


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_a_busy_server_is_asked_again(status: int) -> None:
    async def play() -> None:
        async with scripted(lambda _, n: failure(status, "Busy") if n < 3 else web.json_response({})) as (client, seen):
            assert await client.request("create", "/x", kind="Job", body={}) == {}
            assert len(seen) == 3

    asyncio.run(play())


def test_retry_after_is_waited_for() -> None:
    async def play() -> None:
        busy = failure(429, "TooManyRequests", **{"Retry-After": "1"})
        async with scripted(lambda _, n: busy if n == 1 else web.json_response({})) as (client, _):
            started = time.monotonic()
            await client.request("get", "/x", kind="Job")
            assert time.monotonic() - started >= 1

    asyncio.run(play())


def test_a_broken_connection_is_tried_again_and_then_given_up() -> None:
    async def play() -> None:
        async with scripted(lambda _, __: None, attempts=3) as (client, seen):
            with pytest.raises(ConnectionFailed, match="get /x"):
                await client.request("get", "/x", kind="Job")
            assert len(seen) >= 3

    asyncio.run(play())


@pytest.mark.parametrize(
    ("status", "reason", "attribute"),
    [
        (404, "NotFound", "not_found"),
        (409, "Conflict", "conflict"),
        (403, "Forbidden", "forbidden"),
        (410, "Gone", "expired"),
    ],
)
def test_refusals_are_typed_and_not_repeated(status: int, reason: str, attribute: str) -> None:
    async def play() -> None:
        async with scripted(lambda _, __: failure(status, reason, "because")) as (client, seen):
            with pytest.raises(ApiError, match=f"{status} {reason}: because") as caught:
                await client.request("get", "/x", kind="Job")
            assert getattr(caught.value, attribute)
            assert len(seen) == 1

    asyncio.run(play())


def test_a_proxy_that_answers_html_is_quoted() -> None:
    async def play() -> None:
        async with scripted(lambda _, __: web.Response(status=400, text="<html>no</html>")) as (client, _):
            with pytest.raises(ApiError, match="<html>no</html>"):
                await client.request("get", "/x", kind="Job")

    asyncio.run(play())


def test_the_guard_holds_back_writes_and_lets_reads_pass() -> None:
    def guard() -> float:
        raise NotLeader("not now")

    async def play() -> None:
        async with scripted(lambda _, __: web.json_response({}), guard=guard) as (client, seen):
            await client.request("get", "/x", kind="Job")
            with pytest.raises(NotLeader):
                await client.request("create", "/x", kind="Job", body={})
            assert [request.method for request in seen] == ["GET"]

    asyncio.run(play())


def test_a_write_takes_no_longer_than_the_lease_allows() -> None:
    async def play() -> None:
        def slow(_: web.Request, __: int) -> web.StreamResponse:
            time.sleep(0.4)  # the server's thread is the client's: the answer comes too late for both
            return web.json_response({})

        async with scripted(slow, guard=lambda: 0.1, attempts=1) as (client, _):
            with pytest.raises(ConnectionFailed):
                await client.request("create", "/x", kind="Job", body={})

    asyncio.run(play())
