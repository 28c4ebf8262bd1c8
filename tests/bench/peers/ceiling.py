"""What the API server can take at most: Tidemill's own writes for N objects, sent by a client that has nothing to find out.

No operator runs. A client creates each object and, with the answer, its children, made by the operator's own builders: the
writes that stand between a thousand objects and their children, without a watch, a cache, a queue or a status. There is hardly
more than that for any operator on the same machine. Prints one JSON line for each load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from tests.bench.peers import tidemill
from tests.bench.peers.bed import Manifest, apply, bed
from tests.bench.peers.loads import LOADS
from tests.bench.peers.process import usage
from tests.bench.peers.say import end_once, name
from tests.e2e.apiserver import ROOT

from tidemill.api.v1alpha1 import Deployment, ModelVersion, TrainingRun
from tidemill.api.v1alpha1.common import ArtifactStatus
from tidemill.build.modelplacement import model_placement
from tidemill.build.service import deployment_service
from tidemill.build.settings import BuildSettings, Images, Store
from tidemill.build.trainer import training_job
from tidemill.contract.tasks import ArtifactRef
from tidemill.kube.apply import ensure
from tidemill.kube.client import Client
from tidemill.kube.config import from_kubeconfig
from tidemill.reconcile.plan import Child

IN_FLIGHT = 16
DIGEST = f"sha256:{1:064d}"
SETTINGS = BuildSettings(
    images=Images(worker="worker:1", trainer="trainer:1", serving="serving:1"), store=Store(bucket="b")
)


def of_run(made: Manifest) -> list[Child]:
    """The suspended Job."""
    dataset = ArtifactRef(uri="s3://tidemill/datasets/flights/1", digest=DIGEST)
    return [Child(manifest=training_job(TrainingRun.model_validate(made), dataset, SETTINGS), mode="create")]


def of_deployment(made: Manifest) -> list[Child]:
    """The Service and one placement."""
    deployment = Deployment.model_validate(made)
    meta = {
        "name": f"{tidemill.MODEL}-v1",
        "namespace": made["metadata"]["namespace"],
        "uid": "v",
        "resourceVersion": "1",
    }
    spec = {"model": tidemill.MODEL, "version": 1, "artifact": {"uri": "s3://m", "digest": DIGEST}}
    version = ModelVersion.model_validate({"metadata": meta, "spec": spec})
    assert deployment.spec.online is not None
    artifact = ArtifactStatus(uri="s3://m", digest=DIGEST)
    placement = model_placement(
        deployment, deployment.spec.online, pod="cpu-pool-0", version=version, variant="original", artifact=artifact
    )
    return [Child(manifest=deployment_service(deployment)), Child(manifest=placement)]


CHILDREN: dict[str, Callable[[Manifest], list[Child]]] = {
    "tidemill-training": of_run,
    "tidemill-serving": of_deployment,
}


async def _send(which: str, count: int, kubeconfig: Path) -> float:
    """Seconds from the first request to the last child."""
    load, slots = LOADS[which], asyncio.Semaphore(IN_FLIGHT)
    async with Client(from_kubeconfig(kubeconfig)) as client:

        async def one(index: int) -> None:
            async with slots:
                body = load.manifest(f"o-{index:05d}", load.namespace(index))
                made: dict[str, Any] = await client.request("create", load.path(index), kind="object", body=body)
                for child in CHILDREN[which](made):
                    await ensure(client, child, owner=made, existing=None, edited=False, posted=None)

        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for index in range(count):
                group.create_task(one(index))
        return time.perf_counter() - started


def measure(which: str, count: int) -> dict[str, Any]:
    """One load on a control plane of its own."""
    namespaces: Sequence[str] = LOADS[which].namespaces
    with TemporaryDirectory() as folder, bed(f"ceiling-{which}", Path(folder)) as place:
        crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
        apply([*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in namespaces), *crds])
        kubeconfig = place.identity("client")
        pids = place.system_pids()
        before = {program: usage(pid).cpu for program, pid in pids.items()}
        seconds = asyncio.run(_send(which, count, kubeconfig))
        cost = {program: round((usage(pid).cpu - before[program]) / count * 1000, 1) for program, pid in pids.items()}
    return {"ceiling": which, "objects": count, "perSecond": round(count / seconds, 1), "cpuMsPerObject": cost}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="objects each (default: %(default)s)")
    given = parser.parse_args()
    if given.count < 1:
        parser.error(f"--count: must be at least 1, not {given.count}")
    end_once()
    for which in CHILDREN:
        name(f"ceiling {which}")
        print(json.dumps(measure(which, given.count)), flush=True)


if __name__ == "__main__":
    main()
