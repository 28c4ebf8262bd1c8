"""The queue's promises: one worker a key, nothing lost, namespaces in turn, failures slow down, changes come first."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.reconcile.plan import Key
from tidemill.runtime.queue import SECOND_TURN, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def key(namespace: str, name: str) -> Key:
    return Key(kind="Dataset", namespace=namespace, name=name)


keys = st.builds(key, st.sampled_from("ab"), st.sampled_from("xyz"))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), keys, st.booleans()),
        st.tuples(st.just("after"), keys, st.floats(0, 5)),
        st.tuples(st.just("take"), keys, st.booleans()),
        st.tuples(st.just("finish"), keys, st.booleans()),
        st.tuples(st.just("wait"), keys, st.floats(0, 3)),
    ),
    max_size=60,
)


@given(steps, st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_no_key_twice_at_once_and_nothing_lost(script: list[tuple[str, Key, float]], dice: random.Random) -> None:
    async def play() -> None:
        clock = Clock()
        queue = WorkQueue(clock=clock, jitter=dice.random)
        running: list[Key] = []
        owed: set[Key] = set()  # must be handed out after this moment

        async def take() -> None:
            queue.release_due()
            if not len(queue):
                return
            taken = await queue.take()
            assert taken is not None
            assert taken not in running, "two workers have one key"
            running.append(taken)
            owed.discard(taken)

        for what, who, how in script:
            if what == "add":
                queue.add(who, bulk=bool(how))
                owed.add(who)
            elif what == "after":
                queue.add_after(who, how)
                owed.add(who)
            elif what == "take":
                await take()
            elif what == "finish" and running:
                done = running.pop(dice.randrange(len(running)))
                queue.done(done, failed=bool(how))
                if how:
                    owed.add(done)
            else:
                clock.now += how
        while running or owed:
            while running:
                queue.done(running.pop())
            clock.now += 400  # past every delay and backoff
            before = len(owed)
            for _ in range(before + 1):
                await take()
            assert len(owed) < before or not owed, f"never handed out: {owed}"

    asyncio.run(play())


@given(st.integers(1, 200), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_a_noisy_namespace_does_not_delay_another(noise: int, quiet: int) -> None:
    async def play() -> None:
        queue = WorkQueue()
        for n in range(noise):
            queue.add(key("noisy", str(n)))
        for n in range(quiet):
            queue.add(key("quiet", str(n)))
        names = await order(queue, noise + quiet)
        last = max(i for i, name in enumerate(names) if name.startswith("quiet/"))
        assert last < 2 * quiet, "each turn of the quiet namespace waits for one of the noisy at most"

    asyncio.run(play())


def test_changes_come_before_bulk_work_which_is_not_starved() -> None:
    async def play() -> None:
        queue = WorkQueue()
        for n in range(4):
            queue.add(key("a", f"bulk{n}"), bulk=True)
        for n in range(40):
            queue.add(key("a", f"change{n}"))
        names = await order(queue, 44)
        assert names[0] == "a/change0"
        assert [i for i, name in enumerate(names) if name.startswith("a/bulk")] == [
            SECOND_TURN * n - 1 for n in (1, 2, 3, 4)
        ]

    asyncio.run(play())


def test_failures_back_off_exponentially_to_a_cap_and_success_resets() -> None:
    async def play() -> None:
        clock = Clock()
        queue = WorkQueue(backoff_base=1, backoff_cap=10, clock=clock, jitter=lambda: 1.0)
        delays = []
        for _ in range(6):
            queue.add(key("a", "x"))
            taken = await queue.take()
            assert taken is not None
            delays.append(queue.done(taken, failed=True))
            clock.now += 100
        assert delays == [1, 2, 4, 8, 10, 10]
        assert queue.failing == 1
        taken = await queue.take()
        assert taken is not None
        assert queue.done(taken) == 0
        assert queue.failing == 0
        assert queue.failures(taken) == 0

    asyncio.run(play())


def test_a_change_while_running_is_looked_at_afterwards() -> None:
    async def play() -> None:
        queue = WorkQueue()
        queue.add(key("a", "x"))
        taken = await queue.take()
        assert taken is not None
        queue.add(taken)
        assert len(queue) == 0
        queue.done(taken)
        assert await queue.take() == taken

    asyncio.run(play())


async def order(queue: WorkQueue, count: int) -> list[str]:
    """The next so many keys, each done before the next is taken."""
    names = []
    for _ in range(count):
        taken = await queue.take()
        assert taken is not None
        names.append(f"{taken.namespace}/{taken.name}")
        queue.done(taken)
    return names


def test_what_is_new_comes_first_and_gives_every_eighth_turn_away() -> None:
    async def play() -> list[str]:
        queue = WorkQueue()
        for number in range(2):
            queue.add(key("a", f"known-{number}"))
        for number in range(12):
            queue.add(key("a", f"new-{number}"), new=True)
        return await order(queue, 14)

    new = [f"a/new-{number}" for number in range(12)]
    assert asyncio.run(play()) == [*new[:7], "a/known-0", *new[7:], "a/known-1"]


def test_many_new_keys_of_one_namespace_delay_no_other_namespace() -> None:
    async def play() -> list[str]:
        queue = WorkQueue()
        for number in range(100):
            queue.add(key("flood", f"new-{number}"), new=True)
        queue.add(key("quiet", "known"))
        return await order(queue, 2)

    assert asyncio.run(play()) == ["flood/new-0", "quiet/known"]


def test_a_delay_wakes_a_waiting_worker_and_closing_ends_it() -> None:
    async def play() -> None:
        queue = WorkQueue()
        waiting = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        queue.add_after(key("a", "x"), 0.02)
        async with asyncio.timeout(2):
            assert await waiting == key("a", "x")
            end = asyncio.create_task(queue.take())
            await asyncio.sleep(0)
            queue.close()
            assert await end is None

    asyncio.run(play())


def test_a_cancelled_worker_passes_its_call_on() -> None:
    async def play() -> None:
        queue = WorkQueue()
        first, second = asyncio.create_task(queue.take()), asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        queue.add(key("a", "x"))
        first.cancel()
        async with asyncio.timeout(2):
            assert await second == key("a", "x")

    asyncio.run(play())


def test_many_moved_delays_do_not_pile_up() -> None:
    async def play() -> None:
        clock = Clock()
        queue = WorkQueue(clock=clock)
        for n in range(5000):
            queue.add_after(key("a", "x"), 10_000 - n)
        assert queue.delayed == 1
        assert len(queue._heap) < 1100
        queue.close()

    asyncio.run(play())


def test_one_namespace_never_has_all_workers() -> None:
    async def play() -> None:
        queue = WorkQueue(workers=4)
        for index in range(10):
            queue.add(key("noisy", f"n{index}"))
        taken = [await queue.take() for _ in range(3)]
        waiting = asyncio.ensure_future(queue.take())
        await asyncio.sleep(0)
        assert not waiting.done(), "a fourth worker on one namespace"
        queue.add(key("quiet", "q"))
        assert await asyncio.wait_for(waiting, 1) == key("quiet", "q")
        # A place that comes free goes to a worker that is idle beside waiting keys.
        waiting = asyncio.ensure_future(queue.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert taken[0] is not None
        queue.done(taken[0])
        found = await asyncio.wait_for(waiting, 1)
        assert found is not None
        assert found.namespace == "noisy"

    asyncio.run(play())


def test_a_single_worker_serves_every_namespace() -> None:
    async def play() -> None:
        queue = WorkQueue(workers=1)
        for name in ("a", "b"):
            queue.add(key(name, "x"))
            found = await asyncio.wait_for(queue.take(), 1)
            assert found == key(name, "x")
            queue.done(found)

    asyncio.run(play())
