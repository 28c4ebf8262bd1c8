"""Which servers hold a model: enough of them, stable, preferring those that hold it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidemill.reconcile.policies.placement import UNREADY_GRACE, Candidate, choose_servers

PODS = [f"cpu-pool-{n}" for n in range(8)]


def servers(*pods: str, **fields: object) -> list[Candidate]:
    return [Candidate(pod=pod, ready=True, **fields) for pod in pods]  # type: ignore[arg-type]


def choose(
    found: list[Candidate], replicas: int, holding: tuple[str, ...] = (), name: str = "delays"
) -> tuple[str, ...]:
    return choose_servers(deployment=name, replicas=replicas, servers=found, holding=holding, capacity=10).pods


@given(size=st.integers(0, 8), replicas=st.integers(1, 8), name=st.text("abc-", min_size=1))
def test_as_many_as_asked_for_if_there_are_so_many(size: int, replicas: int, name: str) -> None:
    chosen = choose(servers(*PODS[:size]), replicas, name=name)
    assert len(chosen) == len(set(chosen)) == min(size, replicas)


@given(replicas=st.integers(1, 4), name=st.text("abc-", min_size=1), gone=st.integers(0, 7))
def test_a_server_that_goes_moves_only_what_it_held(replicas: int, name: str, gone: int) -> None:
    before = choose(servers(*PODS), replicas, name=name)
    after = choose(servers(*(p for p in PODS if p != PODS[gone])), replicas, holding=before, name=name)
    assert set(before) - {PODS[gone]} <= set(after)
    assert len(set(after) - set(before)) <= 1


@given(replicas=st.integers(1, 4), name=st.text("abc-", min_size=1))
def test_more_servers_move_nothing(replicas: int, name: str) -> None:
    before = choose(servers(*PODS[:5]), replicas, name=name)
    assert choose(servers(*PODS), replicas, holding=before, name=name) == before


def test_many_deployments_spread() -> None:
    counts = dict.fromkeys(PODS, 0)
    for number in range(800):
        counts[choose(servers(*PODS), 1, name=f"model-{number}")[0]] += 1
    assert min(counts.values()) > 60
    assert max(counts.values()) < 150


def test_a_full_server_takes_nothing_new_but_keeps_what_it_has() -> None:
    full = servers(PODS[0], others=10)
    found = choose_servers(deployment="delays", replicas=1, servers=full, holding=(), capacity=10)
    assert (found.pods, found.shortage) == ((), "Capacity")
    assert choose(full, 1, holding=(PODS[0],)) == (PODS[0],)


def test_a_server_that_is_down_keeps_its_models_for_a_while() -> None:
    down = Candidate(pod=PODS[0], ready=False, unready_seconds=UNREADY_GRACE - 10)
    found = choose_servers(
        deployment="delays", replicas=1, servers=[down, *servers(PODS[1])], holding=(PODS[0],), capacity=10
    )
    assert (found.pods, found.reconsider_after) == ((PODS[0],), 10)
    gone = Candidate(pod=PODS[0], ready=False, unready_seconds=UNREADY_GRACE)
    assert choose([gone, *servers(PODS[1])], 1, holding=(PODS[0],)) == (PODS[1],)
    assert choose([gone], 1, holding=(PODS[0],)) == (PODS[0],), "better than none"


def test_why_there_are_too_few() -> None:
    def shortage(found: list[Candidate], replicas: int) -> str | None:
        return choose_servers(deployment="d", replicas=replicas, servers=found, holding=(), capacity=1).shortage

    assert shortage(servers(PODS[0]), 1) is None
    assert shortage(servers(PODS[0]), 2) == "Servers"
    assert shortage([*servers(PODS[0]), Candidate(pod=PODS[1], ready=False)], 2) == "Ready"
    assert shortage(servers(*PODS[:2], others=1), 2) == "Capacity"
