"""Between operator and API server: watches cut, 410, 429, 500, timeouts, slow writes, a leader that is stopped in a write."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path

from aiohttp import web
from tests.e2e.apiserver import eventually
from tests.faults.proxy import Proxy, Request, gone, status
from tests.faults.stage import LEASES_QUICK, Stage
from tests.glue.process import WRITES

SHARE = 0.1


def test_a_bad_network(stage: Stage, tmp_path: Path) -> None:
    """A tenth of all calls is answered by 429, 500, 503 or not at all; watches are cut, and told to begin anew."""
    chance = random.Random(7)

    async def fault(_: Request) -> web.StreamResponse | None:
        if chance.random() >= SHARE:
            return None
        kind = chance.choice(("429", "500", "503", "timeout", "reset"))
        proxy.counts[kind] += 1
        match kind:
            case "429":
                return status(429, "TooManyRequests", retry_after=1)
            case "500":
                return status(500, "InternalError")
            case "503":
                return status(503, "ServiceUnavailable")
            case "timeout":
                await asyncio.sleep(20)  # longer than anybody waits
                return status(504, "Timeout")
        raise ConnectionResetError

    async def expired(request: Request) -> web.StreamResponse | None:
        if request.watch and chance.random() < 0.5:
            proxy.counts["410"] += 1
            return gone()
        return await fault(request)

    with Proxy(tmp_path) as proxy:
        stage.start("--lease-enabled", "false", kubeconfig=str(proxy.kubeconfig))
        connected = proxy.watches
        proxy.fault = fault
        stage.submit(wait=False)
        for _ in range(5):
            time.sleep(1)  # time for the faults to meet the load
            proxy.counts["cut"] += proxy.cut_watches()
        proxy.fault = expired
        proxy.counts["cut"] += proxy.cut_watches()
        time.sleep(3)
        under_fire = stage.converge(seconds=240)
        proxy.fault = None
        eventually("every watch is there again", lambda: proxy.watches >= connected, seconds=60)
        counts = dict(proxy.counts)
        assert counts["cut"] > 20
        assert counts["410"] > 3
        assert all(counts.get(kind, 0) > 0 for kind in ("429", "500", "503", "timeout", "reset")), counts
        times = sum(counts.get(k, 0) for k in ("429", "500", "503", "timeout", "reset", "410", "cut"))
        stage.verify("10 % of calls fail, watches cut, 410", converged=under_fire, times=times, note=f"{counts}")


def test_watches_come_back_while_every_worker_waits(stage: Stage, tmp_path: Path) -> None:
    """Each write takes two seconds and there are many: what a watch asks before it connects again must not wait for them."""

    async def slow(request: Request) -> web.StreamResponse | None:
        if request.writes and not request.lease:
            await asyncio.sleep(2)
        return None

    with Proxy(tmp_path) as proxy:
        operator = stage.start("--lease-enabled", "false", kubeconfig=str(proxy.kubeconfig))
        connected = proxy.watches
        proxy.fault = slow
        stage.submit(wait=False)
        eventually("many resources wait for a worker", lambda: operator.metric("tidemill_queue_depth") >= 40)
        cut = proxy.cut_watches()
        began = time.monotonic()
        eventually("every watch is there again", lambda: proxy.watches >= connected, seconds=30)
        back = round(time.monotonic() - began, 1)
        waiting = operator.metric("tidemill_queue_depth")
        proxy.fault = None
        converged = stage.converge()
        stage.verify(
            "watches cut while all workers wait", converged=converged, times=cut,
            note=f"back after {back} s, {waiting:.0f} resources in the queue",
        )  # fmt: skip
        assert waiting > 0, "the workers were not busy all the time, so nothing was shown"
        assert back < 5


def test_a_leader_stopped_in_a_write_comes_back_too_late(stage: Stage, tmp_path: Path) -> None:
    """Its writes arrive when another has led for a while: nothing is made twice, no newer status is overwritten."""
    release = asyncio.Event()

    async def hold(request: Request) -> web.StreamResponse | None:
        if request.writes and not request.lease:
            proxy.counts["held"] += 1
            await release.wait()
        return None

    with Proxy(tmp_path) as proxy:
        old = stage.start(*LEASES_QUICK, kubeconfig=str(proxy.kubeconfig))
        eventually("it leads", old.is_leader)
        new = stage.start(*LEASES_QUICK, wait=False)
        eventually("the other is ready", new.ready)
        proxy.fault = hold
        stage.submit(wait=False)
        eventually("writes are in flight", lambda: proxy.counts["held"] >= 5)
        old.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        eventually("the other leads", new.is_leader, seconds=30)
        failover = round(time.monotonic() - stopped, 1)
        converged = stage.converge()
        assert new.calls(*WRITES) > 0
        proxy.fault = None
        proxy.release(release)  # the API server gets what the old leader had sent
        old.process.send_signal(signal.SIGCONT)
        eventually("it has stepped down", lambda: old.alive() and not old.is_leader())
        held = proxy.counts["held"]
        stage.verify(
            "two leaders: SIGSTOP in a write, SIGCONT after failover", converged=converged, times=held,
            note=f"{held} writes arrived late; failover {failover} s",
        )  # fmt: skip
