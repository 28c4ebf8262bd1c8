"""The scale bench's pure parts: percentiles, exponents, metrics, and what a size is made of."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.bench.scale.figures import exponent, percentile, spread
from tests.bench.scale.load import Population, namespaces
from tests.bench.scale.metrics import parse
from tests.bench.scale.simulator import placement_state, server_state, task_states

from tidemill.api.v1alpha1 import KINDS
from tidemill.contract.names import ANNOTATION_TASK
from tidemill.contract.results import RESULT, VerifyResult
from tidemill.contract.tasks import ArtifactRef, ObjectRef, VerifyModel

NOW = "2026-01-01T00:00:00Z"
TEXT = """\
# HELP tidemill_reconciles_total Reconciles by kind and outcome.
# TYPE tidemill_reconciles_total counter
tidemill_reconciles_total{kind="Dataset",outcome="ok"} 3.0
tidemill_reconciles_total{kind="Dataset",outcome="error"} 1.0
tidemill_reconciles_total{kind="Deployment",outcome="ok"} 1.5e+03
tidemill_leader 1.0
tidemill_odd{text="a \\"quoted\\", comma"} -2
"""


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile([*range(100, 0, -1)], percent) == value


def test_the_99th_of_few_values_is_the_greatest() -> None:
    assert percentile([3, 1, 2], 99) == 3


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    assert spread([]) == {"count": 0}


def test_a_spread_is_in_milliseconds() -> None:
    assert spread([0.002, 0.001, 0.5]) == {"count": 3, "p50Ms": 2.0, "p99Ms": 500.0, "maxMs": 500.0}


@pytest.mark.parametrize("growth", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_found(growth: float) -> None:
    sizes = [100, 1000, 5000, 10000]
    assert exponent(sizes, [7 * size**growth for size in sizes]) == pytest.approx(growth)


def test_one_size_has_no_exponent_and_a_cost_of_nothing_is_left_out() -> None:
    assert exponent([100], [1]) is None
    assert exponent([100, 1000], [1, 0]) is None
    assert exponent([100, 200, 1000], [1, 0, 10]) == pytest.approx(1)


def test_metrics_are_summed_by_name_and_label() -> None:
    reading = parse(TEXT)
    assert reading.total("tidemill_reconciles_total") == 1504
    assert reading.total("tidemill_reconciles_total", kind="Dataset") == 4
    assert reading.total("tidemill_reconciles_total", kind="Dataset", outcome="ok") == 3
    assert reading.by("tidemill_reconciles_total", "kind") == {"Dataset": 4, "Deployment": 1500}
    assert reading.total("tidemill_leader") == 1
    assert reading.total("tidemill_odd", text='a \\"quoted\\", comma') == -2
    assert reading.total("absent") == 0


def test_the_difference_of_two_readings() -> None:
    before = parse('calls{verb="get"} 2\n')
    added = parse('calls{verb="get"} 5\ncalls{verb="list"} 1\n').since(before)
    assert added.by("calls", "verb") == {"get": 3, "list": 1}


@pytest.mark.parametrize("size", [100, 300, 1000, 10_000])
def test_a_population_has_its_size_and_every_reference_in_it_leads_somewhere(size: int) -> None:
    population = Population.of(size, namespaces(8))
    assert sum(population.counts().values()) == size
    pools, datasets = list(population.make_pools()), list(population.make_datasets())
    runs, deployments = list(population.make_runs()), list(population.make_deployments())
    policies = list(population.make_policies())
    made = Counter(o["kind"] for o in (*pools, *datasets, *runs, *deployments, *policies))
    assert {**made, "ModelVersion": made["TrainingRun"]} == population.counts()
    for obj in (*pools, *datasets, *runs, *deployments, *policies):
        KINDS[obj["kind"]].model_validate(obj)

    def names(objects: list[dict], *path: str) -> set[tuple[str, str]]:
        found = set()
        for obj in objects:
            value = obj
            for part in path:
                value = value[part]
            found.add((obj["metadata"]["namespace"], value))
        return found

    for objects in (pools, datasets, runs, deployments, policies):
        assert len(names(objects, "metadata", "name")) == len(objects)
    assert names(runs, "spec", "dataset", "name") <= names(datasets, "metadata", "name")
    assert names(deployments, "spec", "model", "name") <= names(runs, "spec", "model", "name")
    assert names(policies, "spec", "deployment") <= names(deployments, "metadata", "name")
    staged = {
        (d["metadata"]["namespace"], d["spec"]["model"]["name"]) for d in deployments if "stage" in d["spec"]["model"]
    }
    asking = [r for r in runs if r["spec"]["model"]["stage"] == "Production"]
    assert staged <= names(asking, "spec", "model", "name")


def test_a_size_without_room_for_all_kinds_is_refused() -> None:
    with pytest.raises(ValueError, match="a size of 50 is too small for 8 namespaces"):
        Population.of(50, namespaces(8))


def test_a_simulated_task_ends_with_a_result_that_can_be_read() -> None:
    artifact = ArtifactRef(uri="s3://b/m", digest="sha256:" + "a" * 64)
    task = VerifyModel(owner=ObjectRef(kind="ModelVersion", namespace="n", name="m"), artifact=artifact)
    running, ended = task_states({"metadata": {"annotations": {ANNOTATION_TASK: task.to_json()}}}, NOW)
    assert (running["phase"], ended["phase"]) == ("Running", "Succeeded")
    state = ended["containerStatuses"][0]["state"]["terminated"]
    assert isinstance(RESULT.validate_json(state["message"]), VerifyResult)
    assert state["exitCode"] == 0


def test_a_simulated_server_is_ready_with_its_agent() -> None:
    pod = {"spec": {"containers": [{"name": "triton"}], "initContainers": [{"name": "agent"}]}}
    status = server_state(pod, NOW, "10.244.0.1")
    assert [c["name"] for c in status["containerStatuses"]] == ["triton"]
    assert all(c["ready"] for c in (*status["containerStatuses"], *status["initContainerStatuses"]))
    assert {c["type"]: c["status"] for c in status["conditions"]}["Ready"] == "True"


def test_a_simulated_agent_reports_the_version_of_the_spec() -> None:
    spec = {"modelVersion": "m-v1", "version": 1, "artifactDigest": "sha256:" + "a" * 64, "variant": "original"}
    status = placement_state({"metadata": {"generation": 3}, "spec": spec}, "uid", NOW)
    assert (status["observedGeneration"], status["state"], status["podUid"]) == (3, "Loaded", "uid")
    assert status["serving"]["modelVersion"] == "m-v1"
