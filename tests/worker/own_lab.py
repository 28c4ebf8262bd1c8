"""A user's own code in a test: the tasks around it, what it writes, and what is kept of that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

from tidemill.contract.tasks import TASK, PublishModel
from tidemill_worker.own.checkpoint import CheckpointFolder, Kept, KeptCheckpoint
from tidemill_worker.own.watch import Watch

from .lab import OWNER, Lab, free_ports
from .samples import Document, dataset


def publishing(lab: Lab, data: Document | None = None, **trainer: Any) -> Document:
    kind = "script" if "configMap" in trainer else "container"
    return {
        "type": "PublishModel",
        "dataset": data or {"uri": f"{lab.root}/datasets/none", "digest": "sha256:" + "0" * 64},
        "kind": kind,
        "trainer": {"target": "arr_delay", **(trainer or {"image": "mine"})},
        "runRoot": f"{lab.root}/runs/own/uid",
        "modelRoot": f"{lab.root}/models/own/own-uid",
    }


def watcher(lab: Lab, **more: Any) -> tuple[Watch, Any]:
    """A watch over the lab's work directory, and its context."""
    task = TASK.validate_python({"owner": OWNER, **publishing(lab)})
    assert isinstance(task, PublishModel)
    context = lab.context()
    for folder in (context.environment.output, context.environment.checkpoint):
        folder.mkdir(exist_ok=True)
    (port,) = free_ports(1)
    return Watch(task, context, task_port=more.pop("port", port)), context


def tell(lab: Lab, *lines: str | dict[str, Any], end: str = "\n") -> None:
    with (lab.environment.output / "metrics.jsonl").open("a") as file:
        file.write("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end)


def kept_metrics(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lab.get(f"{lab.root}/runs/own/uid/metrics.jsonl").splitlines()]


def pod(lab: Lab) -> Lab:
    """The lab with the empty work directory of another pod."""
    work = lab.work / f"pod-{time.monotonic_ns()}"
    work.mkdir()
    return lab.with_environment(work_dir=work)


def run_example(lab: Lab, **parameters: Any) -> str:
    """The example as the pod runs it; what it prints."""
    work = lab.environment.work_dir
    folders = {f"TIDEMILL_{name.upper()}": str(work / name) for name in ("input", "output", "checkpoint")}
    told = {**folders, "TIDEMILL_TARGET": "arr_delay", "TIDEMILL_PARAMETERS": json.dumps(parameters)}
    done = subprocess.run(
        [sys.executable, str(work / "code/train.py")],
        env={"PATH": os.environ["PATH"], "HOME": str(work), "PYTHONUNBUFFERED": "1", **told},
        cwd=work / "code", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def keep(lab: Lab, before: Kept | None = None) -> Kept:
    folder = CheckpointFolder(lab.environment.checkpoint)
    return KeptCheckpoint(lab.context().store, f"{lab.root}/runs/own/uid").save(folder, folder.look(), before or Kept())


def restored(lab: Lab) -> dict[str, bytes]:
    here = pod(lab)
    here.run({"type": "FetchDataset", "dataset": dataset(lab, 20), "runRoot": f"{lab.root}/runs/own/uid"})
    folder = here.environment.checkpoint
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
