"""A namespace's backlog does not stand in the way of another's; an object that always fails costs its backoff, no more."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.apiserver import eventually, temporary_namespace
from tests.glue.objects import apply, condition, dataset, get, items
from tests.glue.process import Operator

NOISY, QUIET, WORKERS = 200, 10, 4
Start = Callable[..., Operator]


@pytest.fixture
def quiet(namespace: str) -> Iterator[str]:  # noqa: ARG001  (made, and so named, after the noisy one)
    """A second namespace."""
    with temporary_namespace(f"quiet-{secrets.token_hex(4)}") as name:
        yield name


def services(namespace: str) -> list[int]:
    """The resourceVersions at which the Services were written last, which is the order in which they were."""
    return sorted(int(item["metadata"]["resourceVersion"]) for item in items(namespace, "services"))


def before(noisy: str, quiet: str) -> int:
    """How many of the noisy namespace's Services were written before the last one of the quiet namespace."""
    last = services(quiet)[-1]
    return sum(version < last for version in services(noisy))


def test_in_the_first_pass_namespaces_take_turns(operator: Start, namespace: str, quiet: str) -> None:
    apply(*(dataset(f"n-{i:03d}", namespace) for i in range(NOISY)))
    apply(*(dataset(f"q-{i}", quiet) for i in range(QUIET)))
    process = operator("--watch-namespaces", f"{namespace},{quiet}", "--workers", str(WORKERS))
    process.through_first_pass()
    assert len(services(namespace)) == NOISY
    assert len(services(quiet)) == QUIET
    # One of each namespace in turn; what a worker has begun may be overtaken by what the others do meanwhile.
    assert before(namespace, quiet) <= QUIET + 2 * WORKERS


def test_a_burst_of_changes_does_not_hold_up_another_namespace(operator: Start, namespace: str, quiet: str) -> None:
    apply(*(dataset(f"n-{i:03d}", namespace) for i in range(NOISY)))
    apply(*(dataset(f"q-{i}", quiet) for i in range(QUIET)))
    flags = ("--watch-namespaces", f"{namespace},{quiet}", "--workers", str(WORKERS), "--lease-enabled", "false")
    process = operator(*flags)
    process.through_first_pass()
    # While the process stands still all changes pile up in front of it, the quiet namespace's last.
    process.process.send_signal(signal.SIGSTOP)
    apply(*(dataset(f"n-{i:03d}", namespace, inputs=("a", "b")) for i in range(NOISY)))
    apply(*(dataset(f"q-{i}", quiet, inputs=("a", "b")) for i in range(QUIET)))
    process.process.send_signal(signal.SIGCONT)

    def two_ports(namespace: str) -> bool:
        return all(len(item["spec"]["ports"]) == 2 for item in items(namespace, "services"))

    eventually("all changes were carried out", lambda: two_ports(quiet) and two_ports(namespace), seconds=120)
    assert process.metric("tidemill_reconciles_total", outcome="error") == 0
    # Events must be read before the queue can be fair about them: reading them all takes a part of the time only.
    assert before(namespace, quiet) < NOISY / 2


def test_an_object_that_always_fails_costs_its_backoff_and_delays_nobody(operator: Start, namespace: str) -> None:
    process = operator("--workers", "1")  # one worker: whoever held it up would hold up everybody
    process.through_first_pass()
    poison = dataset("poison", namespace)
    poison["metadata"]["annotations"] = {"tidemill.dev/poison": "yes"}
    began = time.monotonic()
    apply(poison)

    def failed() -> float:
        return process.metric("tidemill_reconciles_total", kind="Dataset", outcome="error")

    eventually("its first failures", lambda: failed() >= 2)
    apply(*(dataset(f"n-{i}", namespace) for i in range(QUIET)))
    eventually("the others have their Services", lambda: len(services(namespace)) == QUIET)
    failures = int(eventually("more failures", lambda: (count := failed()) >= 7 and count, seconds=120))
    # After the n-th failure it waits for 0.125 × 2^(n-1) s at least, once less when its condition was written.
    delays = [0.125 * 2**n for n in range(failures - 1)]
    assert time.monotonic() - began >= sum(delays) - delays[1] - delays[2]
    assert process.metric("tidemill_queue_failing") == 1
    assert condition(get(namespace, "datasets", "poison"), "Reconciling")["reason"] == "InternalError"
    assert process.calls("patch") <= QUIET + 3, "a status for each of the others, and the poison's only when it changed"

    # Healed, it is reconciled at once: a change does not wait for the backoff's end.
    apply(dataset("poison", namespace, inputs=("a", "b")))
    eventually("it is healed", lambda: get(namespace, "service", "poison-inputs"), seconds=10)
