"""The wall clock of one replica is set forward by an hour, and back by two; the other's is right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.e2e.apiserver import eventually
from tests.faults.stage import Stage
from tests.glue.objects import get
from tests.property import manifests

LIBRARY = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1")


@pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY}: apt-get install faketime")
def test_a_clock_is_set_forward_and_back(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with monkeypatch.context() as patch:
        for name, value in faked.items():
            patch.setenv(name, value)
        leader = stage.start()
    eventually("it leads", leader.is_leader)
    standby = stage.start(wait=False)
    eventually("the other is ready", standby.ready)
    stage.submit()

    def lease() -> dict[str, object]:
        return dict(get(stage.namespace, "lease", "tidemill-operator")["spec"])

    held, converged = lease(), 0.0
    for number, shift in enumerate(("+1h", "-1h", "+0")):
        before = lease()["renewTime"]
        clock.write_text(f"{shift}\n")
        eventually(
            "the lease is renewed by the new clock",
            lambda before=before: _hour(lease()) != _hour({"renewTime": before}),
        )
        name = f"at-{number}"
        made = manifests.dataset(name, uri=f"s3://raw/{name}.parquet")
        stage.create({**made, "metadata": {**made["metadata"], "namespace": stage.namespace}})
        converged = max(converged, stage.converge())
        assert leader.is_leader(), "only monotonic time counts"
        assert not standby.is_leader()
        assert lease()["holderIdentity"] == held["holderIdentity"]
        assert lease()["leaseTransitions"] == held["leaseTransitions"]
    stage.verify("clock of the leader +1 h, then -1 h, then right", converged=converged, times=3)


def _hour(spec: dict[str, object]) -> str:
    return str(spec["renewTime"])[:13]
