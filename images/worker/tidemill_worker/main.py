"""Reads the task, runs it, writes the result, and turns every outcome into an exit code."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from tidemill.contract.exitcodes import ExitCode
from tidemill.contract.reasons import FailureReason
from tidemill.contract.results import TaskFailure
from tidemill.contract.tasks import TASK, PublishModel, Task, TrainModel
from tidemill_worker import log, memory, termination
from tidemill_worker.context import SCRATCH, Context, Stop, fresh_folder
from tidemill_worker.distributed.alone import Alone
from tidemill_worker.distributed.outcome import Outcome, Outcomes
from tidemill_worker.distributed.pod import Pod
from tidemill_worker.environment import Environment
from tidemill_worker.errors import RETRY, TERMINATED, Dismissed, InvalidSpec, TaskError, Terminated
from tidemill_worker.progress import Tracker, serve
from tidemill_worker.store import Store
from tidemill_worker.tasks import run


def read_task(argument: str | None, file: Path) -> Task:
    """The task from the command line (JSON or @file), or from the mounted annotation."""
    if argument is not None and not argument.startswith("@"):
        text = argument
    else:
        path = Path(argument[1:]) if argument else file
        try:
            text = path.read_text()
        except OSError as error:
            raise InvalidSpec(f"the task cannot be read from {path}: {error.strerror}") from error
    try:
        return TASK.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec(
            f"the task document is not valid at {where or 'its top'}: {first['msg']}", field=where
        ) from error


def _keep_writes_inside(work_dir: Path) -> None:
    """The root file system is read-only: libraries that like to write are pointed at the work directory."""
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSpec(f"the work directory {work_dir} cannot be made: {error.strerror}") from error
    # empty, because libraries obey what they find at home: `~/.aws/config` may name a command that makes credentials
    home, temporary = fresh_folder(work_dir / "home"), fresh_folder(work_dir / "tmp")
    fresh_folder(work_dir / SCRATCH)
    os.environ.update(HOME=str(home), XDG_CACHE_HOME=str(home), TMPDIR=str(temporary))
    tempfile.tempdir = str(temporary)


def main(arguments: list[str]) -> int:
    """Run one task, alone, as one of several processes, or as the one that launches these. Returns the exit code."""
    log.setup()
    environment, pod, stop = Environment.read(), Pod.read(), Stop()
    stop.install()
    if pod is not None and pod.process is not None:
        return _take_part(arguments, environment, pod, pod.process, stop)
    if pod is None:
        said = _said(partial(_run, arguments, environment, stop, Alone()))
    else:
        said = _said(partial(_launch, arguments, environment, stop, pod))
    if said.result is not None:
        termination.write(said.result, environment.termination_log)
    return said.code


def _said(work: Callable[[], Outcome]) -> Outcome:
    """How the work ended, whichever way it did."""
    try:
        return work()
    except TaskError as error:
        log.LOGGER.error(error.message, extra={"fields": {"reason": str(error.reason), "field": error.field}})
        return Outcome(code=error.exit_code, result=error.failure())
    except Dismissed:
        return Outcome(code=ExitCode.OK)
    except Terminated:
        log.info("terminated")
        return Outcome(code=TERMINATED)
    except Exception as error:
        if (advice := memory.explain(error)) is not None:
            logging.getLogger(__name__).exception(advice)
            return Outcome(code=RETRY, result=TaskFailure(reason=FailureReason.OUT_OF_MEMORY, message=advice))
        logging.getLogger(__name__).exception("unexpected error")
        failure = TaskFailure(reason=FailureReason.INTERNAL, message=f"{type(error).__name__}: {error}")
        return Outcome(code=RETRY, result=failure)


def _run(arguments: list[str], environment: Environment, stop: Stop, group: Alone) -> Outcome:
    task = read_task(arguments[0] if arguments else None, environment.task_file)
    _keep_writes_inside(environment.work_dir)
    tracker = Tracker()
    if group.leads:
        serve(tracker, environment.progress_port)
    log.info("task", type=task.type, id=task.task_id, owner=str(task.owner), cpus=environment.cpus)
    store = Store.connect(tracker)
    result = run(task, Context(environment=environment, store=store, tracker=tracker, stop=stop, group=group))
    return Outcome(code=ExitCode.OK, result=result)


def _launch(arguments: list[str], environment: Environment, stop: Stop, pod: Pod) -> Outcome:
    task = read_task(arguments[0] if arguments else None, environment.task_file)
    if isinstance(task, PublishModel) and pod.index > 0:
        log.info("pod 0 publishes what all have trained")
        stop.event.wait()
        raise Terminated
    if not isinstance(task, TrainModel):
        return _run(arguments, environment, stop, Alone())
    _keep_writes_inside(environment.work_dir)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a peer that leaves is worth no stack trace in every process
    from tidemill_worker.distributed.launch import launch

    tracker = Tracker()
    context = Context(environment=environment, store=Store.connect(tracker), tracker=tracker, stop=stop)
    return launch(task, arguments, context, pod)


def _take_part(arguments: list[str], environment: Environment, pod: Pod, process: int, stop: Stop) -> int:
    from tidemill_worker.distributed.group import ProcessGroup

    group, cpus = ProcessGroup(pod, stop), max(1, environment.cpus // pod.processes)
    own = replace(environment, work_dir=environment.work_dir / f"process-{process}", cpus=cpus)
    said = _said(partial(_run, arguments, own, stop, group))
    if isinstance(said.result, TaskFailure) and said.result.reason == FailureReason.PEERS_LOST and group.progressed:
        said = said.model_copy(update={"counts": False})
    Outcomes(environment.work_dir / Outcomes.FOLDER).write(process, said)
    if said.code == ExitCode.OK or said.final:
        group.disband()
    return int(ExitCode.OK) if said.final else said.code
