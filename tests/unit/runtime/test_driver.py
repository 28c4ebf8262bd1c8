"""The driver's workers share the event loop with watches, the lease and each other."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tests.unit.runtime.objects import raw

from tidemill.reconcile.observed import Context, Object, Observed
from tidemill.reconcile.plan import Key, Plan
from tidemill.runtime.driver import Driver
from tidemill.runtime.indices import Indices
from tidemill.runtime.intake import Intake
from tidemill.runtime.metrics import Metrics
from tidemill.runtime.queue import WorkQueue

WORKERS = 2


def test_passes_that_write_nothing_leave_turns_to_everything_else() -> None:
    async def play() -> list[int]:
        indices, queue = Indices(), WorkQueue()
        turns: list[int] = []
        turn = 0

        def nothing_to_do(_: Object, __: Observed, ___: Context) -> Plan:
            turns.append(turn)
            return Plan()

        unused: Any = None
        driver = Driver(
            unused, indices=indices, intake=Intake(indices, queue, frozenset({"Dataset"})), queue=queue,
            reconcilers={"Dataset": nothing_to_do}, settings=cast(Any, None), postman=unused, metrics=Metrics(),
        )  # fmt: skip
        for number in range(40):
            indices.upsert(raw("Dataset", f"d{number}", uid=f"u{number}"))
            queue.add(Key(kind="Dataset", namespace="ns", name=f"d{number}"))
        workers = [asyncio.create_task(driver.work()) for _ in range(WORKERS)]
        async with asyncio.timeout(10):
            while len(turns) < 40:
                turn += 1
                await asyncio.sleep(0)
        queue.close()
        await asyncio.gather(*workers)
        return turns

    turns = asyncio.run(play())
    assert max(turns.count(turn) for turn in turns) <= WORKERS
