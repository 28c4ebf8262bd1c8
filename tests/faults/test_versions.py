"""A resource with fields that this operator does not know, as a newer one leaves it behind after a downgrade."""

from __future__ import annotations

import json

from tests.e2e.apiserver import eventually, kubectl
from tests.faults.stage import Stage
from tests.glue.objects import get, items
from tests.property import manifests

CRD = "datasets.tidemill.dev"
SPEC = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-preserve-unknown-fields"


def test_unknown_fields_are_told_and_the_rest_is_done(stage: Stage) -> None:
    space = stage.namespace
    change = json.dumps([{"op": "add", "path": SPEC, "value": True}])
    kubectl("patch", "crd", CRD, "--type=json", "-p", change)
    try:
        made = manifests.dataset("d", uri="s3://raw/d.parquet")
        obj = {**made, "metadata": {**made["metadata"], "namespace": space}}
        obj["spec"]["compaction"] = {"every": "1d"}

        def stored() -> bool:
            kubectl("apply", "--validate=false", "-f", "-", stdin=json.dumps(obj))
            return bool(get(space, "tmds", "d")["spec"].get("compaction"))

        eventually("a newer CRD is served", stored)
        operator = stage.start()
        converged = stage.converge(whole=False)
        [event] = eventually("the event", lambda: items(space, "events", "--field-selector=reason=UnknownFields"))
        assert "spec.compaction" in str(event.get("message") or event.get("note"))
        assert event["involvedObject"]["name"] == "d"
        assert "spec.compaction" in operator.log.read_text()
        assert get(space, "tmds", "d")["spec"]["compaction"] == {"every": "1d"}, "what is unknown is left alone"
        stage.verify("fields of a newer version", converged=converged, whole=False, note="event and log")
    finally:
        kubectl("patch", "crd", CRD, "--type=json", "-p", json.dumps([{"op": "remove", "path": SPEC}]))
