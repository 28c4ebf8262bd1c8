"""Kinds of other projects that are installed or removed while the operator runs."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from tests.unit.kube.server import failure, scripted

from tidemill.kube.resources import WATCHABLE
from tidemill.runtime import discovery
from tidemill.runtime.discovery import KindsChanged, changed

RAY = WATCHABLE["RayCluster"]


@pytest.mark.parametrize("there", [False, True])
def test_a_change_is_noticed_and_a_server_that_does_not_answer_is_none(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "LOOK_SECONDS", 0.01)
    served = {"resources": [{"name": "rayclusters"}, {"name": "rayjobs"}]}

    def answer(request: web.Request, number: int) -> web.StreamResponse:
        assert request.path == "/apis/ray.io/v1"
        if number == 2:
            return failure(403, "Forbidden")
        is_there = there if number < 4 else not there
        return web.json_response(served) if is_there else failure(404, "NotFound")

    async def play() -> None:
        async with scripted(answer) as (client, seen), asyncio.timeout(5):
            word = "are not" if there else "are"
            with pytest.raises(KindsChanged, match=f"^rayclusters {word} served now$"):
                await changed(client, WATCHABLE.values(), [RAY] if there else [])
            assert len(seen) == 4

    asyncio.run(play())
