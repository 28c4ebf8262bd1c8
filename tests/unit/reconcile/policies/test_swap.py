"""Which version each server is told: servers that load what they can come to rest, with as much as can be had."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tidemill.reconcile.policies.swap import FIRST_HOLD, LAST_TRIES, TRIES, Artifact, Server, Swap, choose_targets

NOW = datetime(2026, 1, 1, tzinfo=UTC)
V1, V2, V3 = (Artifact(f"delay-v{n}", f"sha256:{n}") for n in (1, 2, 3))
PODS = ("a", "b", "c")


def choose(servers: list[Server], *, last: Artifact = V2, since: datetime | None = None) -> Swap:
    """Version 3 is chosen; what answered last, and the others before it."""
    earlier = [artifact for artifact in dict.fromkeys((last, V2, V1)) if artifact != V3]
    return choose_targets(
        chosen=V3, earlier=earlier, established=last == V3, servers=servers, troubled_since=since, now=NOW
    )


def carried_out(server: Server, swap: Swap, broken: frozenset[tuple[str, Artifact]]) -> Server:
    """The server after its agent has done what it is told, and has tried three times if it cannot."""
    target = swap.targets[server.pod]
    server = replace(server, last_resort=server.pod in swap.last_resort)
    if (server.pod, target) in broken:
        attempts = min(server.attempts + 1, TRIES) if server.placed == target else 1
        return replace(server, placed=target, failed=True, attempts=attempts)
    return replace(server, placed=target, held=target, answers=True, failed=False, attempts=1, loaded_at=NOW)


def at_rest(servers: list[Server], broken: frozenset[tuple[str, Artifact]], *, restarted: bool) -> list[Server]:
    """The servers when nothing changes any more, with at most so many steps."""
    since = NOW - timedelta(seconds=30) if restarted else None
    last = V2
    for _ in range(30):
        held = {s.held for s in servers if s.answers and s.held}
        last = next(iter(held)) if len(held) == 1 else last
        swap = choose(servers, last=last, since=since)
        after = [carried_out(s, swap, broken) for s in servers]
        if after == servers:
            return servers
        servers = after
    raise AssertionError("the servers never come to rest")


BROKEN = st.frozensets(st.tuples(st.sampled_from(PODS), st.sampled_from((V1, V2, V3))))


@given(broken=BROKEN, size=st.integers(1, 3))
def test_a_swap_ends_with_one_version_on_all_servers(broken: frozenset[tuple[str, Artifact]], size: int) -> None:
    before = [Server(pod=pod, placed=V2, held=V2, answers=True, loaded_at=NOW) for pod in PODS[:size]]
    # What a server holds it could load, and can again.
    broken = frozenset((pod, artifact) for pod, artifact in broken if artifact != V2)
    after = at_rest(before, broken, restarted=False)
    fits = all((pod, V3) not in broken for pod in PODS[:size])
    assert {s.held for s in after} == {V3 if fits else V2}


@given(broken=BROKEN, size=st.integers(1, 3))
def test_servers_made_anew_answer_if_any_of_them_can(broken: frozenset[tuple[str, Artifact]], size: int) -> None:
    anew = [Server(pod=pod, placed=V3) for pod in PODS[:size]]
    after = at_rest(anew, broken, restarted=True)
    can = {pod for pod in PODS[:size] if any((pod, artifact) not in broken for artifact in (V1, V2))}
    answering = {s.pod for s in after if s.answers}
    assert answering >= can
    assert answering or all((pod, V3) in broken for pod in PODS[:size]), (
        "a new version where no older one can be loaded"
    )


def test_what_is_tried_when_nothing_that_answered_before_can_be_loaded() -> None:
    server = Server(pod="a", placed=V1, failed=True, attempts=TRIES)
    swap = choose([server])
    assert (swap.targets, swap.last_resort) == ({"a": V3}, {"a"})

    tried = Server(pod="a", placed=V3, last_resort=True)
    assert choose([tried]) == swap, "it has the time to load it"
    assert choose([replace(tried, failed=True, attempts=LAST_TRIES - 1)]) == swap
    assert choose([replace(tried, failed=True, attempts=LAST_TRIES)]).targets == {"a": V2}, "what was away may be back"
    assert choose([replace(tried, last_resort=False)]).targets == {"a": V2}, "a try may be what ended the server"

    other = Server(pod="b", placed=V2, held=V2, answers=True)
    assert choose([server, other]).targets["a"] == V1, "no mix of versions where another server answers"


def test_one_server_is_told_first_by_name() -> None:
    servers = [Server(pod=pod, placed=V2, held=V2, answers=True) for pod in reversed(PODS)]
    assert choose(servers).targets == {"a": V3, "b": V2, "c": V2}
    servers[2] = replace(servers[2], answers=False)
    assert choose(servers).targets == {"a": V2, "b": V3, "c": V2}, "one that answers"


def test_the_pause_grows_with_the_age_of_the_trouble() -> None:
    def until(age: float) -> datetime | None:
        server = Server(pod="a", placed=V2, held=V2, answers=True, loaded_at=NOW)
        return choose([server], since=NOW - timedelta(seconds=age)).hold_until

    assert until(10) == NOW + timedelta(seconds=FIRST_HOLD)
    assert until(1000) == NOW + timedelta(seconds=1000)
    assert until(100_000) == NOW + timedelta(hours=1)


def test_what_answers_already_is_not_swapped_for_the_sake_of_one_server() -> None:
    servers = [
        Server(pod="a", placed=V3, held=V3, answers=True),
        Server(pod="b", placed=V3, failed=True, attempts=TRIES),
    ]
    assert set(choose(servers, last=V3).targets.values()) == {V3}
