"""Other people's hands: children deleted, edited and orphaned, owners made anew, everything applied again by GitOps."""

from __future__ import annotations

import signal
import subprocess

from tests.e2e.apiserver import eventually, kubectl
from tests.faults.stage import Stage
from tests.faults.state import controller
from tests.glue.objects import get
from tests.glue.process import WRITES
from tests.property import manifests

ORPHAN = '[{"op":"remove","path":"/metadata/ownerReferences"}]'


def test_children_deleted_edited_and_orphaned(stage: Stage) -> None:
    stage.start()
    stage.submit()
    space, before = stage.namespace, stage.state()
    placements = [p["metadata"]["name"] for p in before.objects["ModelPlacement"]]
    services = [s["metadata"]["name"] for s in before.objects["Service"] if s["metadata"]["name"].startswith("dep-")]
    assert len(placements) >= 3
    assert len(services) >= 3
    pool = get(space, "statefulset", "pool-pool")
    # deleted
    kubectl("delete", "statefulset", "pool-pool", "-n", space)
    kubectl("delete", "tmplace", placements[0], "-n", space)
    kubectl("delete", "service", services[0], "-n", space)
    # edited
    edit = '{"spec":{"ports":[{"port":1,"name":"x"}]}}'
    kubectl("patch", "service", services[1], "-n", space, "--type=merge", "-p", edit)
    # orphaned
    kubectl("patch", "tmplace", placements[1], "-n", space, "--type=json", "-p", ORPHAN)
    kubectl("patch", "service", services[2], "-n", space, "--type=json", "-p", ORPHAN)

    def mended() -> bool:
        state = stage.state()
        made = get(space, "statefulset", "pool-pool")
        ports = [p["name"] for p in get(space, "service", services[1])["spec"]["ports"]]
        return (
            bool(made)
            and made["metadata"]["uid"] != pool["metadata"]["uid"]
            and len(state.objects["ModelPlacement"]) == len(placements)
            and len(state.objects["Service"]) == len(before.objects["Service"])
            and ports != ["x"]
            and not state.orphans()
        )

    eventually("all children are as they were", mended, seconds=90)
    # The edit was mended in the same second, and managedFields do not tell which came first: it is applied once more.
    stage.verify("children deleted, edited, orphaned", converged=stage.converge(), times=6, allowed=1)


def test_a_namesake_while_the_job_of_the_first_runs(stage: Stage, world: subprocess.Popen[bytes]) -> None:
    stage.start()
    space = stage.namespace
    world.send_signal(signal.SIGSTOP)  # Jobs begin and do not end

    def make(uri: str) -> str:
        manifest = manifests.dataset("d", uri=uri)
        stage.create({**manifest, "metadata": {**manifest["metadata"], "namespace": space}})
        return str(get(space, "tmds", "d")["metadata"]["uid"])

    owners = [make("s3://raw/d.parquet")]
    for uri in ("s3://raw/d.parquet", "s3://raw/other.parquet", "s3://raw/d.parquet"):
        eventually("its Job has a pod", lambda: any(p for p in stage.state().objects["Pod"]))
        kubectl("delete", "tmds", "d", "-n", space, "--cascade=background")
        owners.append(make(uri))
    assert len(set(owners)) == 4

    def only_the_last() -> bool:
        return {controller(job) for job in stage.state().objects["Job"]} == {owners[-1]}

    eventually("Jobs of the last one alone", only_the_last, seconds=60)
    world.send_signal(signal.SIGCONT)
    state = stage.verify(
        "deleted and created again while the Job runs", converged=stage.converge(whole=False), times=3, whole=False
    )
    assert len(state.objects["Job"]) == 1


def test_everything_is_applied_again_by_gitops(stage: Stage) -> None:
    operator = stage.start()
    stage.submit()
    stage.until_idle()
    objects = stage.manifests()
    before, seen = operator.calls(*WRITES), operator.metric("tidemill_watch_events_total")
    for _ in range(2):
        stage.apply(*objects)
    labelled = [{**o, "metadata": {**o["metadata"], "labels": {"team": "a"}}} for o in objects]
    stage.apply(*labelled)
    eventually("it was seen", lambda: operator.metric("tidemill_watch_events_total") >= seen + len(objects))
    idle = stage.until_idle()
    writes = int(operator.calls(*WRITES) - before)
    stage.verify("all applied again by GitOps, then with a label", converged=idle, times=3, note=f"{writes} writes")
    assert writes == 0, "nothing that matters has changed"
