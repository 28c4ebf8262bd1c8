"""Reads the task, runs it, writes the result, and turns every outcome into an exit code."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from tidemill.contract.exitcodes import ExitCode
from tidemill.contract.reasons import FailureReason
from tidemill.contract.results import TaskFailure
from tidemill.contract.tasks import TASK, Task
from tidemill_worker import log, termination
from tidemill_worker.context import SCRATCH, Context, Stop, fresh_folder
from tidemill_worker.environment import Environment
from tidemill_worker.errors import RETRY, TERMINATED, InvalidSpec, TaskError, Terminated
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
    """Run one task. Returns the process's exit code."""
    log.setup()
    environment = Environment.read()
    stop = Stop()
    stop.install()
    try:
        task = read_task(arguments[0] if arguments else None, environment.task_file)
        _keep_writes_inside(environment.work_dir)
        tracker = Tracker()
        serve(tracker, environment.progress_port)
        log.info("task", type=task.type, id=task.task_id, owner=str(task.owner), cpus=environment.cpus)
        context = Context(environment=environment, store=Store.connect(tracker), tracker=tracker, stop=stop)
        result = run(task, context)
    except TaskError as error:
        log.LOGGER.error(error.message, extra={"fields": {"reason": str(error.reason), "field": error.field}})
        termination.write(error.failure(), environment.termination_log)
        return int(error.exit_code)
    except MemoryError:
        message = "the task needs more memory than the container has: raise spec.resources.memory"
        logging.getLogger(__name__).exception(message)
        termination.write(TaskFailure(reason=FailureReason.OUT_OF_MEMORY, message=message), environment.termination_log)
        return RETRY
    except Terminated:
        log.info("terminated")
        return TERMINATED
    except Exception as error:
        logging.getLogger(__name__).exception("unexpected error")
        failure = TaskFailure(reason=FailureReason.INTERNAL, message=f"{type(error).__name__}: {error}")
        termination.write(failure, environment.termination_log)
        return RETRY
    termination.write(result, environment.termination_log)
    return int(ExitCode.OK)
