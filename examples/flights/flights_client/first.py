"""Asks until a Deployment answers for the first time."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from flights_client import inference, store
from flights_client.month import chunks_of

PAUSE = 0.1


async def first_answer(month: int, *, sql: str, seed: int, deployment: str, timeout: float) -> float:
    """Unix time at which the first row of the month was answered; one request every tenth of a second until then.

    Raises TimeoutError when there is no answer within `timeout` seconds.
    """
    table = next(chunks_of(store.client(), month, sql=sql, rows=1, chunk=1, seed=seed))
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            answers = await inference.single_rows(deployment, deployment, table, ["first"])
        except (aiohttp.ClientError, OSError):
            answers = None  # nobody listens yet
        if answers and not answers.errors:
            return time.time()
        await asyncio.sleep(PAUSE)
    raise TimeoutError(f"{deployment} did not answer within {timeout:.0f} s")
