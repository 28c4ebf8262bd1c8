"""A cached object: what stands beside the packed JSON, and that the collector has nothing to look at in it."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest
from tests.unit.runtime.objects import job, raw

from tidemill.contract.names import LABEL_POOL
from tidemill.runtime.entry import Entry
from tidemill.runtime.indices import Indices
from tidemill.runtime.trim import trim


def entry(obj: dict[str, Any]) -> Entry:
    return Entry(trim(obj), 7, edited=False, posted=None)


def test_an_object_comes_back_as_it_was_trimmed() -> None:
    made = job(
        "j", spec={"suspend": True}, status={"conditions": [{"type": "Complete", "status": "True"}], "active": 0}
    )
    found = entry(made)
    assert found.obj == trim(made)
    assert (found.kind, found.namespace, found.name, found.uid) == ("Job", "ns", "j", made["metadata"]["uid"])
    assert found.owner == made["metadata"]["ownerReferences"][0]["uid"]


@pytest.mark.parametrize(
    ("obj", "state"),
    [
        (raw("Pod", api="v1", status={"phase": "Running"}), "Running"),
        (raw("Dataset", status={"conditions": [{"type": "X"}, {"type": "Ready", "status": "False"}]}), "False"),
        (raw("Dataset", status={"conditions": []}), ""),
        (raw("Dataset"), ""),
    ],
)  # fmt: skip
def test_its_state_is_the_phase_or_the_ready_condition(obj: dict[str, Any], state: str) -> None:
    assert entry(obj).state == state


def test_names_are_those_of_select() -> None:
    indices = Indices()
    assert indices.names("Pod", "ns", "pool", "p") == ()
    for version, name in enumerate(("b", "a"), start=1):
        indices.upsert(raw("Pod", name, api="v1", uid=name, version=version, labels={LABEL_POOL: "p"}))
        found = [obj["metadata"]["name"] for obj in indices.select("Pod", "ns", "pool", "p")]
        assert list(indices.names("Pod", "ns", "pool", "p")) == found
    assert list(indices.names("Pod", "ns", "pool", "p")) == ["a", "b"]


def test_an_object_is_one_thing_for_the_garbage_collector_and_little_memory() -> None:
    """Of a thousand finished runs with eight conditions each: dictionaries would be ten thousand and more, and 5 MB."""

    def fill(indices: Indices, count: int) -> None:
        for number in range(count):
            conditions = [{"type": f"T{n}", "status": "True", "reason": "R", "message": f"m{number}"} for n in range(8)]
            spec = {"dataset": {"name": "d"}, "model": {"name": "m"}}
            indices.upsert(
                raw("TrainingRun", f"r{number}", uid=f"u{number}", spec=spec, status={"conditions": conditions})
            )

    indices = Indices()
    gc.collect()
    before = len(gc.get_objects())
    fill(indices, 1000)
    gc.collect()
    tracked = len(gc.get_objects()) - before
    assert tracked < 5_000, f"{tracked / 1000} containers for each object"
    sizes = [sys.getsizeof(found._packed) for found in indices.all("TrainingRun")]
    assert len(sizes) == 1000
    assert max(sizes) < 1_000
