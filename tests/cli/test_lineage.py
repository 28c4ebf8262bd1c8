"""Where a version comes from: version → run → dataset versions → inputs. No I/O anywhere."""

from __future__ import annotations

from typing import Any

from tests.cli.objects import ARTIFACT, DIGEST, MODEL_URI, run, succeeded, version

from tidemill.contract.manifest import Provenance
from tidemill_cli.lineage import Node, trace, tree

FLIGHTS = "s3://tidemill/team/datasets/flights/" + "d" * 64
BASE = "s3://tidemill/team/datasets/base/" + "b" * 64
BASE_DIGEST, FILE_DIGEST = "sha256:" + "b" * 64, "sha256:" + "f" * 64


def made(subject: str, inputs: dict[str, str], **more: Any) -> Provenance:
    return Provenance(subject_digest=subject, task={}, inputs=inputs, started_at="s", finished_at="f", **more)


MODEL = made(ARTIFACT, {FLIGHTS: DIGEST}, builder_image="trainer@sha256:1", seed=3, versions={"torch": "2.15.0"})
DATA = made(DIGEST, {BASE: BASE_DIGEST, "s3://raw/2013/b.parquet": FILE_DIGEST, "s3://raw/2013/a.parquet": FILE_DIGEST})
RAW = made(BASE_DIGEST, {"s3://raw/base.csv": FILE_DIGEST})
STORE = {MODEL_URI: MODEL, FLIGHTS: DATA, BASE: RAW}
ORIGIN = {
    "trainingRun": "first", "trainingRunUid": "u1", "dataset": "flights", "datasetUri": FLIGHTS, "datasetDigest": DIGEST,
    "image": "trainer@sha256:1", "configDigest": "sha256:" + "c" * 64,
}  # fmt: skip


def traced(obj: dict[str, Any], store: dict[str, Provenance], *, uid: str = "u1") -> Node:
    there = run("first", status=succeeded({}))
    there["metadata"]["uid"] = uid
    return trace(obj, lambda name: there if name == "first" and uid else None, store.get)


def test_a_version_is_traced_to_its_raw_files() -> None:
    assert tree(traced(version("delay-v1", **ORIGIN), STORE)).splitlines() == [
        "ModelVersion delay-v1  sha256:aaaaaaaaaaaa",
        "│  model delay, version 1, stage Production, verified true",
        "└─ TrainingRun first",
        "   │  image trainer@sha256:1, config sha256:" + "c" * 64 + ", seed 3, versions torch 2.15.0, "
        "startedAt 2026-01-01T10:00:00Z, finishedAt 2026-01-01T10:05:30Z, uid u1",
        "   └─ Dataset flights  sha256:dddddddddddd",
        "      ├─ Dataset base  sha256:bbbbbbbbbbbb",
        "      │  └─ File s3://raw/base.csv  sha256:ffffffffffff",
        "      ├─ File s3://raw/2013/a.parquet  sha256:ffffffffffff",
        "      └─ File s3://raw/2013/b.parquet  sha256:ffffffffffff",
    ]


def test_the_document_has_whole_digests_and_addresses() -> None:
    document = traced(version("delay-v1", **ORIGIN), STORE).document()
    assert document["digest"] == ARTIFACT
    (training,) = document["inputs"]
    (flights,) = training["inputs"]
    assert (flights["name"], flights["digest"], flights["uri"]) == ("flights", DIGEST, FLIGHTS)
    assert [(i["kind"], i["uri"], i["digest"]) for i in flights["inputs"]] == [
        ("Dataset", BASE, BASE_DIGEST),
        ("File", "s3://raw/2013/a.parquet", FILE_DIGEST),
        ("File", "s3://raw/2013/b.parquet", FILE_DIGEST),
    ]


def test_without_the_store_the_api_server_still_tells_the_dataset() -> None:
    found = traced(version("delay-v1", **ORIGIN), {})
    (training,) = found.inputs
    (flights,) = training.inputs
    assert (flights.name, flights.digest, flights.inputs) == ("flights", DIGEST, ())
    assert flights.facts == {"provenance": "unknown"}
    assert training.facts["image"] == "trainer@sha256:1"


def test_a_run_that_is_gone_or_replaced_is_said_to_be() -> None:
    gone = traced(version("delay-v1", **ORIGIN), STORE, uid="").inputs[0]
    assert gone.facts["object"] == "deleted"
    other = traced(version("delay-v1", **ORIGIN), STORE, uid="u2").inputs[0]
    assert other.facts["object"] == "another run has its name now"
    assert "startedAt" not in other.facts


def test_provenance_of_another_artifact_is_not_believed() -> None:
    found = traced(version("delay-v1", **ORIGIN), {**STORE, MODEL_URI: made("sha256:" + "9" * 64, {}, seed=9)})
    assert found.facts["provenance"] == "is of another artifact: sha256:" + "9" * 64
    assert "seed" not in found.inputs[0].facts


def test_an_imported_model_names_its_source() -> None:
    found = traced(version("delay-v1", source="https://hub.example.org/delay"), {})
    assert [(node.kind, node.name) for node in found.inputs] == [("Source", "https://hub.example.org/delay")]
    bare = traced(version("delay-v1"), {MODEL_URI: made(ARTIFACT, {FLIGHTS: DIGEST}), FLIGHTS: RAW})
    assert [(node.kind, node.name) for node in bare.inputs] == [("Dataset", "flights")]
    assert traced(version("delay-v1"), {}).inputs == ()


def test_many_files_are_counted_in_the_tree_and_all_in_the_document() -> None:
    many = {f"s3://raw/{i:03}.parquet": FILE_DIGEST for i in range(30)}
    found = traced(version("delay-v1", **ORIGIN), {**STORE, FLIGHTS: made(DIGEST, {**many, BASE: BASE_DIGEST})})
    lines = tree(found).splitlines()
    assert sum("File s3://raw/0" in line for line in lines) == 10
    assert lines[-1] == "      └─ … 20 more files: -o json has them all"
    flights = found.document()["inputs"][0]["inputs"][0]
    assert len(flights["inputs"]) == 31
