"""Kinds that not every cluster serves: looked for when they are wanted, watched while they are there."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from tests.unit.kube.server import failure, scripted
from tests.unit.runtime.objects import raw

from tidemill.kube.errors import ApiError
from tidemill.kube.resources import CHILDREN, OPTIONAL, OURS
from tidemill.runtime import optional
from tidemill.runtime.indices import Indices
from tidemill.runtime.intake import Intake
from tidemill.runtime.optional import OptionalKinds
from tidemill.runtime.queue import WorkQueue
from tidemill.runtime.seed import Seeder

JOBSET = OPTIONAL["JobSet"]
LIST = {"metadata": {"resourceVersion": "1"}, "items": []}


@pytest.mark.parametrize(
    ("status", "reason", "text"),
    [
        (404, "NotFound", "the cluster does not serve jobset.x-k8s.io/v1alpha2: install JobSet"),
        (403, "Forbidden", "the operator may not list jobsets.jobset.x-k8s.io: give it this right"),
    ],
)
def test_why_a_kind_is_not_to_be_had(status: int, reason: str, text: str) -> None:
    async def play() -> None:
        async with scripted(lambda _, __: failure(status, reason)) as (client, _):
            kinds = OptionalKinds(client, [JOBSET], ())
            assert await kinds.look() == []
            assert kinds.absent("JobSet") == text
            assert kinds.absent("Job") is None

    asyncio.run(play())


def test_it_must_be_served_in_every_namespace_that_is_watched() -> None:
    async def play() -> None:
        def answer(request: web.Request, _: int) -> web.Response:
            return failure(403, "Forbidden") if "/namespaces/b/" in request.path else web.json_response(LIST)

        async with scripted(answer) as (client, seen):
            assert await OptionalKinds(client, [JOBSET], ("a", "b")).look() == []
            assert await OptionalKinds(client, [JOBSET], ("a",)).look() == [JOBSET]
        assert [r.path for r in seen][-1] == "/apis/jobset.x-k8s.io/v1alpha2/namespaces/a/jobsets"

    asyncio.run(play())


def test_a_server_that_does_not_answer_says_nothing_about_it() -> None:
    async def play() -> None:
        async with scripted(lambda _, __: failure(400, "BadRequest")) as (client, _):
            with pytest.raises(ApiError):
                await OptionalKinds(client, [JOBSET], ()).look()

    asyncio.run(play())


def test_nothing_is_asked_until_somebody_wants_it_and_what_appears_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(optional, "LOOK_SECONDS", 0.01)
    served = False

    async def play() -> None:
        nonlocal served
        told: list[bool] = []
        async with scripted(lambda _, __: web.json_response(LIST) if served else failure(404, "NotFound")) as (c, seen):
            kinds = OptionalKinds(c, [JOBSET], ())
            looking = asyncio.create_task(kinds.run(lambda: told.append(served)))
            await asyncio.sleep(0.05)
            assert not seen, "nobody wants it"
            assert kinds.absent("JobSet")
            await asyncio.sleep(0.05)
            assert (len(seen), told) == (1, [])
            served = True
            assert kinds.absent("JobSet"), "it is looked for, not guessed"
            await asyncio.sleep(0.05)
            assert (len(seen), told) == (2, [True])
            assert kinds.absent("JobSet") is None
            await asyncio.sleep(0.05)
            assert len(seen) == 2, "it is there: nobody wants it any more"
            looking.cancel()

    asyncio.run(play())


def test_a_kind_that_is_watched_no_more_is_forgotten_with_all_that_was_known_of_it() -> None:
    async def play() -> None:
        indices = Indices()
        async with scripted(lambda _, __: web.json_response(LIST)) as (client, _):
            intake = Intake(indices, WorkQueue(), frozenset())
            seeder = Seeder(client, indices, intake, [OURS["TrainingRun"], CHILDREN["Job"]], ["ns"])
            seeder.watch([OURS["TrainingRun"], CHILDREN["Job"], JOBSET])
            for type_ in (OURS["TrainingRun"], CHILDREN["Job"]):
                await seeder.seed(type_, "ns")
            assert (seeder.missing(), seeder.synced.is_set()) == (["JobSet"], False)
            await seeder.seed(JOBSET, "ns")
            assert seeder.synced.is_set()
            for made in (raw("Job", "j", api="batch/v1"), raw("JobSet", "s", api=JOBSET.api_version)):
                intake.observed(made)
            seeder.watch([OURS["TrainingRun"], CHILDREN["Job"]])
            assert indices.count().get("JobSet", 0) == 0
            assert indices.get("Job", "ns", "j") is not None
            assert seeder.missing() == []
            assert "/apis/jobset.x-k8s.io/v1alpha2/namespaces/ns/jobsets" not in seeder.dimensions

    asyncio.run(play())
