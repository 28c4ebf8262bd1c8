"""A control plane of the tests' own, with the CRDs and without a node: nothing here needs a Pod to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.apiserver import kubectl
from tests.e2e.cluster import Cluster, connect

CRDS = Path(__file__).resolve().parents[2] / "crds"


@contextmanager
def control_plane(name: str) -> Iterator[Cluster]:
    """The cluster of this name, or TIDEMILL_KUBECONFIG's; one that was not there before ends with the context."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEMILL_CLUSTER", name)
        patch.setenv("TIDEMILL_NODE", "none")
        found, started_here = connect()
        try:
            with pytest.MonkeyPatch.context() as on_it:
                for variable, value in found.environment.items():
                    on_it.setenv(variable, value)
                kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
                kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS))
            yield found
        finally:
            if started_here:
                found.down()
