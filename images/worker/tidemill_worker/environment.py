"""What the pod gives the process: folders, ports, limits of CPU and memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from tidemill.contract import names

ENV_TERMINATION_LOG = "TIDEMILL_TERMINATION_LOG"
ENV_SECRET_DIR = "TIDEMILL_SECRET_DIR"
ENV_VOLUME_DIR = "TIDEMILL_VOLUME_DIR"
DEFAULT_TASK_FILE = "/etc/tidemill/task"
DEFAULT_WORK_DIR = "/tidemill/work"
DEFAULT_SECRET_DIR = "/etc/tidemill/secrets"
"""Secrets of inputs with `secretName` are mounted here, one folder each, one file a key."""
DEFAULT_VOLUME_DIR = "/tidemill/volumes"
"""The claims of inputs with `volume` are mounted here, one folder each, read-only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The process's surroundings, read once."""

    task_file: Path
    work_dir: Path
    secret_dir: Path
    volume_dir: Path = Path(DEFAULT_VOLUME_DIR)
    termination_log: Path
    progress_port: int
    image: str
    cpus: int
    memory_bytes: int
    pod_index: int = 0
    """Which pod of an Indexed Job this is; 0 in any other."""
    output_dir: Path | None = None
    checkpoint_dir: Path | None = None
    """Folders of a user's own code, where they are not in the work directory: for who watches it."""
    gpu: str = ""
    """The accelerator resource that the container asked for: nvidia.com/gpu, … Empty: none."""

    @classmethod
    def read(cls) -> Environment:
        """From environment variables and the control group."""
        get = os.environ.get
        return cls(
            task_file=Path(get(names.ENV_TASK) or DEFAULT_TASK_FILE),
            work_dir=Path(get(names.ENV_WORK_DIR) or DEFAULT_WORK_DIR),
            secret_dir=Path(get(ENV_SECRET_DIR) or DEFAULT_SECRET_DIR),
            volume_dir=Path(get(ENV_VOLUME_DIR) or DEFAULT_VOLUME_DIR),
            termination_log=Path(get(ENV_TERMINATION_LOG) or "/dev/termination-log"),
            progress_port=int(get(names.ENV_PROGRESS_PORT) or names.PROGRESS_PORT),
            image=get(names.ENV_IMAGE) or "",
            cpus=cpu_limit(),
            memory_bytes=memory_limit(),
            pod_index=int(get("JOB_COMPLETION_INDEX") or 0),
            output_dir=_path(names.ENV_OUTPUT),
            checkpoint_dir=_path(names.ENV_CHECKPOINT),
            gpu=get(names.ENV_GPU) or "",
        )

    @property
    def output(self) -> Path:
        """What a user's own code leaves."""
        return self.output_dir or self.work_dir / "output"

    @property
    def checkpoint(self) -> Path:
        """What a user's own code leaves for the run's next pod."""
        return self.checkpoint_dir or self.work_dir / "checkpoint"


def _path(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _first_words(*paths: str) -> list[str]:
    for path in paths:
        try:
            return Path(path).read_text().split()
        except OSError:
            continue
    return []


def cpu_limit() -> int:
    """Whole CPUs that the container may use: libraries that count the node's cores start far too many threads."""
    available = len(os.sched_getaffinity(0))
    quota = _first_words("/sys/fs/cgroup/cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        return max(1, min(available, ceil(int(quota[0]) / int(quota[1]))))
    old = _first_words("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = _first_words("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if old and period and int(old[0]) > 0:
        return max(1, min(available, ceil(int(old[0]) / int(period[0]))))
    return available


def memory_limit() -> int:
    """Bytes that the container may use."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    words = _first_words("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    if words and words[0].isdigit():
        return min(physical, int(words[0]))
    return physical
