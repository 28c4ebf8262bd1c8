"""The stage of a fault: a namespace with a load, operators on it, and the checks that follow."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from tests.bench.scale.load import AT_ONCE, Population, create
from tests.e2e.apiserver import eventually
from tests.e2e.cluster import Cluster
from tests.faults.report import record
from tests.faults.state import Raw, State
from tests.glue.process import WRITES, Operator

from tidemill.kube.client import APPLY_PATCH, Client
from tidemill.kube.config import load as load_connection
from tidemill.kube.resources import OURS

QUIET_SECONDS = 3.0
IDLE_SECONDS = 60.0
LEASES_QUICK = ("--lease-duration", "3", "--lease-renew-deadline", "2", "--lease-retry-period", "0.3")
"""Another leader within three seconds, for tests with many of them."""


class Stage:
    """One namespace, and the operators that work on it."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path, size: int) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.folder = folder
        self._size = size
        self.population = Population.of(size, (namespace,))
        self.operators: list[Operator] = []
        self._logs: dict[str, list[tuple[str, str, str]]] = {}
        """Every entry of a transition log that was ever seen, by object."""
        self._started = 0

    # Operators

    def start(
        self, *flags: str, kubeconfig: str | None = None, module: str = "tidemill.runtime", wait: bool = True
    ) -> Operator:
        """An operator on the namespace; unless told otherwise it is waited for until it has looked at everything."""
        log = self.folder / f"operator-{self._started}.log"
        self._started += 1
        own = ("--watch-namespaces", self.namespace, "--lease-namespace", self.namespace)
        operator = Operator(*own, *flags, log=log, kubeconfig=kubeconfig, module=module)
        self.operators.append(operator)
        if wait:
            operator.through_first_pass()
        return operator

    def kill(self, operator: Operator) -> None:
        """SIGKILL."""
        operator.kill()
        self.operators.remove(operator)

    def end(self) -> None:
        """Nothing that was started here runs on."""
        for operator in self.operators:
            operator.kill()
        self.operators.clear()

    def leader(self) -> Operator:
        """The operator that holds the lease, as soon as one does."""
        found = eventually("a leader", lambda: [o for o in self.operators if o.is_leader()], seconds=60)
        return found[0]  # type: ignore[no-any-return]

    # Load

    def manifests(self) -> list[Raw]:
        """The whole load."""
        p = self.population
        pools = ({**o, "spec": {**o["spec"], "capacity": {"models": 10_000}}} for o in p.make_pools())
        made = (pools, p.make_datasets(), p.make_runs(), p.make_deployments(), p.make_policies())
        return [obj for some in made for obj in some]

    def submit(self, *, wait: bool = True) -> None:
        """Create the whole load; unless told otherwise, wait until it has settled."""
        self.create(*self.manifests())
        if wait:
            self.converge(seconds=180)

    def create(self, *objects: Raw) -> None:
        """Create objects of our kinds."""

        async def send() -> None:
            async with Client(load_connection(), user_agent="faults") as client:
                await create(client, objects)

        asyncio.run(send())

    def apply(self, *objects: Raw, manager: str = "argocd") -> None:
        """What a GitOps controller does with manifests: server-side apply under its own name."""

        async def send() -> None:
            async with Client(load_connection(), user_agent="faults") as client:
                slots = asyncio.Semaphore(AT_ONCE)

                async def one(obj: Raw) -> None:
                    meta = obj["metadata"]
                    path = OURS[obj["kind"]].path(meta["namespace"], meta["name"])
                    query = {"fieldManager": manager, "force": "true"}
                    async with slots:
                        await client.request(
                            "apply", path, kind=obj["kind"], query=query, body=obj, content_type=APPLY_PATCH
                        )

                await asyncio.gather(*(one(obj) for obj in objects))

        asyncio.run(send())

    # Checks

    def state(self) -> State:
        """What the namespace holds now; its transition logs are remembered."""
        state = State.read(self.namespace)
        for uid, log in state.transitions().items():
            seen = self._logs.setdefault(uid, [])
            seen += [entry for entry in log if entry not in seen]
        return state

    def converge(self, *, seconds: float = 120, whole: bool = True) -> float:
        """Wait until all that shall be there is there, with the status that it shall have; how long that took."""
        started = time.monotonic()
        seconds += self._size / 20  # 10,000 objects may take ten minutes
        wanted = self.population.counts() if whole else {}
        said: list[str] = []

        def settled() -> bool:
            state = self.state()
            missing = [f"{len(state.objects[k])} {k} of {n}" for k, n in wanted.items() if len(state.objects[k]) < n]
            said[:] = [*missing, *state.unsettled()]
            return not said

        try:
            eventually("converged", settled, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"not converged in {seconds:.0f} s: {'; '.join(said[:5])} ({len(said)})") from error
        return round(time.monotonic() - started, 1)

    def forget_logs(self) -> None:
        """History is about to be taken back: what was logged so far need not be there afterwards."""
        self._logs.clear()

    def calls(self, since: int) -> int:
        """Requests of the operators in the audit log, from a place in it on, without those for leases."""
        return sum(1 for _ in self.cluster.audited(self._is_operators, since=since))

    def _is_operators(self, event: dict[str, Any]) -> bool:
        agent, resource = event.get("userAgent", ""), event.get("objectRef", {}).get("resource")
        mine = event.get("objectRef", {}).get("namespace") == self.namespace
        return agent in ("tidemill", "tidemill-watch") and resource != "leases" and mine

    def until_idle(self) -> float:
        """Wait until the operators have asked nothing for a while; how long it took until that while began."""
        started = time.monotonic()
        while True:
            position = self.cluster.audit_position()
            time.sleep(QUIET_SECONDS)  # the statement is about time in which nothing happens
            if not (calls := self.calls(position)):
                return round(time.monotonic() - started - QUIET_SECONDS, 1)
            assert time.monotonic() - started < IDLE_SECONDS, f"a hot loop: {calls / QUIET_SECONDS:.1f} calls/s"

    def verify(
        self, fault: str, *, converged: float, times: int = 1, whole: bool = True, note: str = "", allowed: int = 0
    ) -> State:
        """After a fault: the whole list of what must hold, counted and recorded; `allowed` writes of a fresh operator."""
        self.converge(whole=whole)
        idle = self.until_idle()
        state = self.state()
        lost = [
            uid
            for uid, log in state.transitions().items()
            if (seen := self._logs[uid]) and seen[-len(log) :] != log and len(seen) <= 10
        ]
        fresh_writes = self._writes_of_a_fresh_operator()
        counts = {
            "objects": state.count(),
            "times": times,
            "duplicates": len(state.duplicates()),
            "orphans": len(state.orphans()),
            "lost": len(state.broken_logs()) + len(lost),
            "converged": converged,
            "idle": idle,
            "restartWrites": fresh_writes,
            "note": note,
        }
        record(fault, **counts)
        assert not state.duplicates()
        assert not state.orphans()
        assert not state.broken_logs()
        assert not lost, "entries of transition logs that were there before are not there any more"
        assert fresh_writes <= allowed, "a fresh operator found something to write"
        return state

    def _writes_of_a_fresh_operator(self) -> int:
        for operator in self.operators:
            operator.stop()
        self.operators.clear()
        fresh = self.start("--lease-enabled", "false")
        events = sum(fresh.metric("tidemill_api_requests_total", verb=verb, kind="Event") for verb in WRITES)
        return int(fresh.calls(*WRITES) - events)  # what is wrong with an object is said again by every operator
