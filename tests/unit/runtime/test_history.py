"""etcd restored: a list that is behind what was seen is believed, and every watch that began before begins anew."""

from __future__ import annotations

import asyncio

from aiohttp import web
from tests.unit.kube.server import scripted
from tests.unit.runtime.objects import raw

from tidemill.kube.resources import OURS
from tidemill.runtime.history import History
from tidemill.runtime.indices import EVERYTHING, Indices
from tidemill.runtime.intake import Intake
from tidemill.runtime.metrics import Metrics
from tidemill.runtime.queue import WorkQueue
from tidemill.runtime.resync import AFTER_A_CUT_SECONDS, Resync
from tidemill.runtime.seed import Seeder


def test_a_list_is_believed_about_what_is_older_than_itself() -> None:
    indices = Indices()
    indices.upsert(raw(version=90, spec={"x": "lost"}))
    assert indices.upsert(raw(version=50, spec={"x": 0}), listed=80) is None, "what is known is newer than the list"
    assert indices.upsert(raw(version=50, spec={"x": 0}), listed=100) is not None
    found = indices.get("Dataset", "ns", "d")
    assert found is not None
    assert found["spec"] == {"x": 0}


def test_an_equal_version_is_another_object_once_history_went_back() -> None:
    indices = Indices()
    indices.upsert(raw(version=90, spec={"x": "lost"}))
    assert indices.upsert(raw(version=90, spec={"x": "new"}), listed=95) is None
    assert indices.upsert(raw(version=90, spec={"x": "new"}), listed=EVERYTHING) is not None


def test_a_deleted_object_is_there_again_when_a_list_after_its_deletion_says_so() -> None:
    indices = Indices()
    indices.upsert(raw(version=10))
    indices.remove("Dataset", "ns", "d", "uid-Dataset-d", version=20)
    assert indices.upsert(raw(version=15), listed=18) is None, "a list from before the deletion"
    assert indices.upsert(raw(version=15)) is None, "an event that came late"
    assert indices.upsert(raw(version=10), listed=20) is not None
    assert indices.upsert(raw(version=21)) is not None


def test_contradictions_are_told_from_what_may_be() -> None:
    indices = Indices()
    history = History(indices)

    def contradicted(version: int, *, listed: int, name: str = "d", newest: int = 0) -> bool:
        return history.contradicted("Dataset", [raw(name=name, version=version)], listed, newest=newest)

    indices.upsert(raw(version=90))
    indices.upsert(raw(name="gone", version=10))
    indices.remove("Dataset", "ns", "gone", "uid-Dataset-gone", version=95)
    assert indices.newest("Dataset") == 95, "a deletion has a version as well"
    assert not contradicted(90, listed=90)
    assert not contradicted(91, listed=100)
    assert not contradicted(80, listed=85), "the cache is newer than the list"
    assert contradicted(80, listed=100), "the list is newer than the cache, its object is older"
    assert contradicted(80, listed=85, newest=95), "the list is older than what was known when it was asked for"
    assert not contradicted(10, listed=94, name="gone")
    assert contradicted(10, listed=95, name="gone")
    assert not contradicted(1, listed=200, name="unknown")


def test_every_watch_of_the_kind_begins_anew_once() -> None:
    indices = Indices()
    history = History(indices)
    here, there, other = ("Dataset", "a"), ("Dataset", "b"), ("Job", "a")
    for dimension in (here, there, other):
        history.watched_anew(dimension)
    indices.upsert(raw(version=90))
    history.went_back("Dataset", 50)
    assert [history.is_behind(d) for d in (here, there, other)] == [True, True, False]
    assert indices.newest("Dataset") == 50
    history.watched_anew(here)
    assert [history.is_behind(d) for d in (here, there)] == [False, True]
    history.went_back("Dataset", 40)
    assert history.is_behind(here)


def test_the_resync_comes_soon_after_a_watch_was_cut() -> None:
    async def play() -> list[float]:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        indices, metrics = Indices(), Metrics()
        async with scripted(lambda _, __: web.json_response({"metadata": {"resourceVersion": "1"}})) as (client, seen):
            intake = Intake(indices, WorkQueue(), frozenset())
            seeder = Seeder(client, indices, intake, [OURS["Dataset"]], ["ns"])
            seeder.synced.set()
            resync = Resync(
                client, indices=indices, intake=intake, seeder=seeder, metrics=metrics, interval=300, full_pass=3600,
                sleep=sleep,
            )  # fmt: skip
            running = asyncio.create_task(resync.run())
            await asyncio.sleep(0.05)
            assert not seen, "nothing was cut"
            seeder.cut.set()
            async with asyncio.timeout(10):
                while not seen:
                    await asyncio.sleep(0.01)
            assert not seeder.cut.is_set()
            running.cancel()
        return slept

    assert asyncio.run(play()) == [AFTER_A_CUT_SECONDS]
