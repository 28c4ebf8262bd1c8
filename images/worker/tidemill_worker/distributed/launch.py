"""The first process of a pod that trains with others: meets their pods, starts the pod's processes, and says how it ended.

All pods meet at pod 0. If that one is lost the others stay and wait for its successor: would they end, each were a failed pod
to Kubernetes, and its dataset were downloaded anew.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch.distributed import DistError
from torch.distributed.elastic.agent.server.api import RunResult, WorkerState
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError, RendezvousTimeoutError

from tidemill.contract.exitcodes import ExitCode
from tidemill.contract.reasons import FailureReason
from tidemill.contract.results import TaskFailure
from tidemill.contract.tasks import TrainModel
from tidemill_worker import log
from tidemill_worker.context import Context, fresh_folder
from tidemill_worker.distributed.agent import STOPPED, Agent
from tidemill_worker.distributed.outcome import Outcome, Outcomes
from tidemill_worker.distributed.pod import Pod
from tidemill_worker.distributed.waiting import await_port
from tidemill_worker.errors import RETRY, PeersLost, Terminated
from tidemill_worker.progress import serve
from tidemill_worker.recorded import recorded_before

_PAUSE_SECONDS = 1.0


def launch(task: TrainModel, arguments: Sequence[str], context: Context, pod: Pod) -> Outcome:
    """Train with the other pods. Raises PeersLost when they do not come, and Terminated after SIGTERM."""
    try:
        return _launch(task, arguments, context, pod)
    except SignalException as error:  # an agent puts handlers of its own in the place of ours
        raise Terminated from error


def _launch(task: TrainModel, arguments: Sequence[str], context: Context, pod: Pod) -> Outcome:
    if pod.index == 0 and (done := recorded_before(context, task, task.run_root)) is not None:
        return Outcome(code=ExitCode.OK, result=done)  # the other pods are gone, and nobody would come
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    work_dir = context.environment.work_dir
    outcomes = Outcomes(fresh_folder(work_dir / Outcomes.FOLDER))
    run, deadline = task.owner.uid or task.task_id, time.monotonic() + pod.join_timeout
    while True:
        if pod.index > 0:
            await_port(pod.host, pod.port, deadline, who="pod 0")
        agent = None
        try:
            folder = fresh_folder(work_dir / "launcher")
            agent = Agent(pod, run, arguments, outcomes, folder, partial(_telling, context, pod))
            return _judge(agent.run(), outcomes, pod)
        except RendezvousTimeoutError as error:
            raise PeersLost(
                f"fewer than {pod.min_nodes} of {pod.nodes} pods came within {pod.join_timeout} seconds: see what keeps the "
                "others from running, or set spec.distribution.minNodes"
            ) from error
        except (RendezvousError, DistError) as error:
            now = time.monotonic()
            if agent is not None and agent.started:
                deadline = now + pod.join_timeout
            if now > deadline:
                raise PeersLost(f"the pods cannot meet at {pod.host}:{pod.port}: {error}") from error
            log.warn("the meeting point is lost: this pod waits for it", host=pod.host, error=str(error))
            time.sleep(_PAUSE_SECONDS)
        finally:
            if agent is not None:
                agent.leave()


@contextmanager
def _telling(context: Context, pod: Pod) -> Iterator[None]:
    """Say at /progress that pods are waited for, as long as no process of the training needs the port."""
    wanted = f"{pod.nodes}" if pod.min_nodes == pod.nodes else f"at least {pod.min_nodes} of {pod.nodes}"
    server = serve(context.tracker, context.environment.progress_port) if pod.index == 0 else None
    context.tracker.phase("Waiting", message=f"until {wanted} pods have met")
    try:
        yield
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()


def _judge(result: RunResult, outcomes: Outcomes, pod: Pod) -> Outcome:
    """What the pod says, when its processes have ended and are not started again."""
    if (final := outcomes.final(pod.processes)) is not None:
        return final
    if result.state == WorkerState.SUCCEEDED:
        leader = outcomes.read(0) if pod.index == 0 else None
        return leader or Outcome(code=ExitCode.OK)
    failed = sorted(result.failures.values(), key=lambda failure: failure.exitcode in STOPPED)
    failure = _failure_of(failed[0], outcomes, pod)
    tries = f"the last of {pod.max_restarts + 1} failures, spec.distribution.maxRestarts is {pod.max_restarts}"
    return Outcome(code=RETRY, result=failure.model_copy(update={"message": f"{failure.message} ({tries})"}))


def _failure_of(ended: ProcessFailure, outcomes: Outcomes, pod: Pod) -> TaskFailure:
    said = outcomes.read(ended.local_rank)
    if said is not None and isinstance(said.result, TaskFailure):
        return said.result
    code, process = ended.exitcode, f"process {ended.local_rank} of pod {pod.index}"
    if code >= 0:
        message = f"{process} ended with exit code {code} and no word: see the pod's log"
    else:
        hint = (
            ": most likely the memory did not suffice, raise spec.resources.memory" if code == -signal.SIGKILL else ""
        )
        message = f"{process} was killed by {signal.Signals(-code).name}{hint}"
    return TaskFailure(reason=FailureReason.RETRIES_EXHAUSTED, message=message)
