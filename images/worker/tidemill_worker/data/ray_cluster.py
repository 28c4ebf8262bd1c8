"""A Ray cluster, reached through its client server. What is asked of it comes back in the order it was asked for."""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ray
from ray.exceptions import AuthenticationError, GetTimeoutError, OutOfMemoryError, RayError, RayTaskError

from tidemill.contract.durations import seconds
from tidemill.contract.engine import RayOptions
from tidemill_worker.context import Context, Stop
from tidemill_worker.data import part
from tidemill_worker.errors import AccessDenied, InvalidSpec, RayUnavailable, TaskError

FIELD = "spec.ray"
RETRIES = 3
"""How often a task is tried again whose worker or node was lost."""
_LOOK = 1.0
"""Seconds between two looks for the wish to stop."""
A = TypeVar("A")
R = TypeVar("R")


class Cluster:
    """A connected cluster."""

    def __init__(self, options: RayOptions, stop: Stop) -> None:
        self.options, self.stop = options, stop
        self._remote: Any = ray.remote(num_cpus=1, memory=options.memory_bytes, max_retries=RETRIES)

    def map(self, function: Callable[[A], R], arguments: Iterator[A]) -> Iterator[R]:
        """The function's values, in the arguments' order. So many are asked for at a time as keep all CPUs at work.

        Raises what the function raises; RayUnavailable when the cluster lost the same task too often, or is gone.
        """
        remote, asked = self._remote(function), deque[Any]()
        more = True
        while more or asked:
            while more and len(asked) < self._at_once():
                argument = next(arguments, None)
                more = argument is not None
                if more:
                    asked.append(self._calling(remote.remote, argument))
            if asked:
                yield self._value(asked.popleft())

    def check(self) -> None:
        """Wait for room for one task, and see that nodes have our code at all; whether it is this very one, each task sees."""
        limit = seconds(self.options.wait)
        try:
            self._value(self._calling(self._remote(part.code).remote), limit)
        except RuntimeError as error:
            text = f"the nodes of {self.options.server} do not have Tidemill's image `ray`: {_line(error)}"
            raise InvalidSpec(f"{self.options.chosen}: {text}", field=self.options.chosen) from error

    def _at_once(self) -> int:
        return 2 * max(1, int(self._calling(ray.cluster_resources).get("CPU", 1)))

    def _calling(self, function: Callable[..., R], *arguments: Any) -> R:
        """Call what speaks with the cluster."""
        try:
            return function(*arguments)
        except (ConnectionError, RayError) as error:
            raise self._gone(error) from error

    def _value(self, reference: Any, limit: float | None = None) -> Any:
        """A task's value, as soon as it is there."""
        until = None if limit is None else time.monotonic() + limit
        while True:
            self.stop.check()
            try:
                return ray.get(reference, timeout=_LOOK)
            except GetTimeoutError as error:
                if until is not None and time.monotonic() > until:
                    raise self._no_room() from error
            except OutOfMemoryError as error:
                raise self._too_little(error) from error
            except RayTaskError as error:
                raise self._translated(error) from error
            except (ConnectionError, RayError) as error:
                raise self._gone(error) from error

    def _translated(self, error: RayTaskError) -> Exception:
        """What the task itself raised."""
        cause = error.cause
        if isinstance(cause, TaskError):
            return cause
        if isinstance(cause, MemoryError):
            return self._too_little(cause)
        return RuntimeError(f"a task on Ray failed: {error}")

    def _too_little(self, error: Exception) -> RayUnavailable:
        text = f"{FIELD}.memory: a task on Ray needs more than {self.options.memory}: {_line(error)}"
        return RayUnavailable(text, field=f"{FIELD}.memory")

    def _gone(self, error: Exception) -> RayUnavailable:
        text = f"the Ray cluster at {self.options.server} failed: {type(error).__name__}: {_line(error)}"
        return RayUnavailable(f"{self.options.chosen}: {text}", field=self.options.chosen)

    def _no_room(self) -> RayUnavailable:
        room = [node["Resources"] for node in self._calling(ray.nodes) if node["Alive"]]
        each = ", ".join(f"{int(n.get('CPU', 0))} CPUs and {int(n.get('memory', 0)) >> 20}Mi" for n in room)
        text = f"no node of {self.options.server} had room for a task with 1 CPU and {self.options.memory}"
        return RayUnavailable(f"{FIELD}: {text} within {self.options.wait}; there are nodes with {each}", field=FIELD)


def _line(error: Exception) -> str:
    """The first line of a message: Ray adds advice and traces."""
    return str(error).strip().partition("\n")[0][:300]


@contextmanager
def connected(options: RayOptions, context: Context) -> Iterator[Cluster]:
    """The cluster, while the block runs; then whatever it still works on for us is given up.

    Raises RayUnavailable when it does not answer in time, InvalidSpec when its Ray or Python is another one than here,
    AccessDenied when the token is not its own.
    """
    stop = context.stop
    _wait_for(options, stop)
    try:
        ray.init(options.server, log_to_driver=False, logging_level=logging.WARNING)
    except AuthenticationError as error:
        text = f"{FIELD}.secretName: {options.server} asks for another token: {_line(error)}"
        raise AccessDenied(text, field=f"{FIELD}.secretName") from error
    except (ConnectionError, RayError) as error:
        text = f"{options.chosen}: what answers at {options.server} is no Ray Client server: {_line(error)}"
        raise RayUnavailable(text, field=options.chosen) from error
    except RuntimeError as error:  # another version
        text = (
            f"{options.chosen}: {options.server} cannot be used: {_line(error)}; give its nodes Tidemill's image `ray`"
        )
        raise InvalidSpec(text, field=options.chosen) from error
    try:
        cluster = Cluster(options, stop)
        cluster.check()
        yield cluster
    finally:
        with suppress(ConnectionError, RayError):  # a cluster that is gone cannot be told so
            ray.shutdown()


def _wait_for(options: RayOptions, stop: Stop) -> None:
    """Until something listens: a cluster may be about to start."""
    url, until = urlsplit(options.server), time.monotonic() + seconds(options.wait)
    while True:
        try:
            socket.create_connection((url.hostname, url.port), timeout=5).close()
        except OSError as error:
            if time.monotonic() > until:
                text = f"{options.chosen}: nothing answers at {options.server} within {options.wait}: {error}"
                raise RayUnavailable(text, field=options.chosen) from error
            stop.event.wait(_LOOK)
            stop.check()
        else:
            return
