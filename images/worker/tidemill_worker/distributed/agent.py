"""PyTorch's elastic agent, which starts a pod's processes, watches them, and starts them again when the group changes.

Two things are ours (https://docs.pytorch.org/docs/stable/elastic/customization.html): a process that says that the user's
input is wrong ends the attempt at once, and the loss of other pods does not use up the pod's own restarts.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import DynamicRendezvousHandler
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

from tidemill_worker.distributed.outcome import Outcomes
from tidemill_worker.distributed.pod import Pod
from tidemill_worker.errors import TERMINATED

Waiting = Callable[[], AbstractContextManager[None]]
STOP_SECONDS = 25
"""What processes have to end after SIGTERM; the kubelet kills after 30."""
EXIT_SECONDS = 10
"""Processes end together; so long the agents wait for each other afterwards."""
STOPPED = frozenset({TERMINATED, -signal.SIGTERM})
"""Exit codes of processes that were stopped, because another one had failed."""


class Agent(LocalElasticAgent):
    """Starts and watches the processes of one pod."""

    def __init__(
        self, pod: Pod, run: str, arguments: Sequence[str], outcomes: Outcomes, folder: Path, waiting: Waiting
    ) -> None:
        """`waiting` is entered while the pods wait for each other.

        Raises RendezvousConnectionError when pod 0 cannot be reached, and on pod 0 when the port is taken.
        """
        # The store that agents share by default keeps keys and address of rounds that are over: a pod that comes anew finds
        # dead processes (https://github.com/pytorch/pytorch/issues/135712). Without it each round has a store of its own.
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        self._outcomes, self._processes, self._waiting = outcomes, pod.processes, waiting
        self.started = False
        """Whether the pods have met and the processes been started."""
        parameters = RendezvousParameters(
            backend="c10d",
            endpoint=f"{pod.host}:{pod.port}",
            run_id=run,
            min_nodes=pod.min_nodes,
            max_nodes=pod.nodes,
            local_addr=pod.address,
            is_host=pod.index == 0,
            **{"join_timeout": pod.join_timeout, **_configured()},
        )
        spec = WorkerSpec(
            role="trainer",
            local_world_size=pod.processes,
            entrypoint=sys.executable,
            args=("-m", "tidemill_worker", *arguments),
            rdzv_handler=get_rendezvous_handler(parameters),
            max_restarts=pod.max_restarts,
            local_addr=pod.address,
        )
        logs = DefaultLogsSpecs(log_dir=str(folder))
        super().__init__(spec, logs, exit_barrier_timeout=EXIT_SECONDS, shutdown_timeout=STOP_SECONDS)

    def leave(self) -> None:
        """End the thread that sends signs of life: in a call to the store it would abort the process at its exit.

        Not by `shutdown`, which closes the rendezvous for all who may come again.
        """
        assert isinstance(self._rdzv_handler, DynamicRendezvousHandler), "c10d's"
        self._rdzv_handler._stop_heartbeats()

    def _rendezvous(self, worker_group: WorkerGroup) -> None:
        with self._waiting():
            super()._rendezvous(worker_group)

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result: RunResult = super()._monitor_workers(worker_group)
        if self._outcomes.final(self._processes) is not None:
            self._remaining_restarts = 0
            return RunResult(state=WorkerState.FAILED, failures=result.failures)
        if result.state == WorkerState.FAILED and not self._counts(result):
            self._remaining_restarts += 1  # the caller takes one away
        return result

    def _counts(self, result: RunResult) -> bool:
        """Whether a process failed of itself: those that were stopped, because another one had failed, do not tell."""
        failed = [f for f in result.failures.values() if f.exitcode not in STOPPED]
        said = [self._outcomes.read(failure.local_rank) for failure in failed]
        return not said or any(outcome is None or outcome.counts for outcome in said)

    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, int]:
        self.started = True
        for process in range(self._processes):
            self._outcomes.clear(process)
        started: dict[int, int] = super()._start_workers(worker_group)
        return started


def _configured() -> dict[str, str]:
    """How the pods meet otherwise than by default, as torchrun itself is told: PET_RDZV_CONF, `last_call_timeout=5,…`."""
    return dict(pair.split("=", 1) for pair in os.environ.get("PET_RDZV_CONF", "").split(",") if "=" in pair)
