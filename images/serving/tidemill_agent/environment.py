"""What the pod gives the process, read once: names, folders, addresses, limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tidemill.contract import names

ENV_POD_UID = "TIDEMILL_POD_UID"
ENV_MODELS_DIR = "TIDEMILL_MODELS_DIR"
ENV_TRITON_URL = "TIDEMILL_TRITON_URL"
ENV_AGENT_PORT = "TIDEMILL_AGENT_PORT"
ENV_FLUSH_ROWS = "TIDEMILL_FLUSH_ROWS"
ENV_FLUSH_SECONDS = "TIDEMILL_FLUSH_SECONDS"
ENV_BUFFER_BYTES = "TIDEMILL_LOG_BUFFER_BYTES"


class BadEnvironment(Exception):
    """A variable is missing or not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The process's surroundings."""

    namespace: str
    pod: str
    pod_uid: str
    pool: str
    bucket: str
    endpoint: str | None
    region: str
    models_dir: Path
    """Triton's model repository; the artifact cache lies in it too, hidden, so that files can be linked."""
    tap_dir: Path
    tap_max_bytes: int
    """Disk for files of Triton's trace that are not consumed yet."""
    triton_url: str
    port: int
    flush_rows: int
    flush_seconds: float
    buffer_bytes: int
    """Memory for rows of the inference log that the store has not taken yet."""

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Environment:
        """From environment variables. Raises BadEnvironment that names the variable."""

        def need(name: str) -> str:
            value = variables.get(name, "")
            if not value:
                raise BadEnvironment(f"{name} is not set: the agent runs in a pod made by the ServingPool's builder")
            return value

        def number(name: str, default: float) -> float:
            text = variables.get(name) or str(default)
            try:
                value = float(text)
            except ValueError as error:
                raise BadEnvironment(f"{name} is {text!r}, which is not a number") from error
            if value <= 0:
                raise BadEnvironment(f"{name} is {text}: it must be above 0")
            return value

        return cls(
            namespace=need(names.ENV_NAMESPACE),
            pod=need(names.ENV_POD),
            pod_uid=need(ENV_POD_UID),
            pool=variables.get(names.ENV_POOL, ""),
            bucket=need(names.ENV_STORE_BUCKET),
            endpoint=variables.get(names.ENV_STORE_ENDPOINT) or None,
            region=variables.get(names.ENV_STORE_REGION) or "us-east-1",
            models_dir=Path(variables.get(ENV_MODELS_DIR) or "/models"),
            tap_dir=Path(variables.get(names.ENV_TAP_DIR) or "/tap"),
            tap_max_bytes=int(number(names.ENV_TAP_MAX_BYTES, 256 << 20)),
            triton_url=variables.get(ENV_TRITON_URL) or f"http://127.0.0.1:{names.TRITON_HTTP_PORT}",
            port=int(number(ENV_AGENT_PORT, names.AGENT_PORT)),
            flush_rows=int(number(ENV_FLUSH_ROWS, 5000)),
            flush_seconds=number(ENV_FLUSH_SECONDS, 30),
            buffer_bytes=int(number(ENV_BUFFER_BYTES, 64 << 20)),
        )
