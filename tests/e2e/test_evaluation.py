"""Continuous evaluation on the cluster: a new version of a Dataset is judged without anybody asking."""

from __future__ import annotations

import pytest
from tests.e2e.stand import Object, Stand, apply, awaited, condition, put_table, ready, resource
from tests.e2e.story import SMALL, dataset, rows, trained

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SPLIT = {"random": {"validation": 0.1, "test": 0.8}}


def test_what_is_in_production_is_judged_on_every_new_version(tidemill: Stand) -> None:
    with tidemill.s3() as s3:
        put_table(s3, "judged/taught.parquet", rows())
        put_table(s3, "judged/fresh.parquet", rows(300, seed=2))
    model = {"name": "judged", "stage": "Production"}
    apply(
        dataset("judged", "judged/taught.parquet"),
        dataset("judged-fresh", "judged/fresh.parquet", split=SPLIT),
        trained("judged", of="judged", model=model, trainer={"epochs": 20}),
    )
    ready("tmmv", "judged-v1")
    evaluation = {
        "dataset": "judged-fresh",
        "gates": [{"metric": "mae", "max": 3}],
        "explain": {"method": "None"},
        "html": False,
        "pictures": False,
        "resources": SMALL,
    }
    batch = {"dataset": "judged", "splits": ["test"], "resources": SMALL}
    apply(resource("Deployment", "judged", model=model, mode="Batch", batch=batch, evaluation=evaluation))
    first = awaited("tmdep", "judged", lambda o: condition(o, "Evaluated").get("status") == "True", "evaluated")
    (found,) = first["status"]["evaluation"]["results"]
    assert found["modelVersion"]["name"] == "judged-v1"
    assert found["metrics"]["mae"] < 3
    report = f"{found['reportUri']}/evaluation.json".partition("//")[2].partition("/")
    with tidemill.s3() as s3:
        assert s3.head_object(Bucket=report[0], Key=report[2])["ContentLength"] > 100
        put_table(s3, "judged/later.parquet", rows(300, seed=3, shift=6.0))

    apply(dataset("judged-fresh", "judged/later.parquet", split=SPLIT))

    def judged_again(obj: Object) -> bool:
        known = obj["status"]["evaluation"]
        return len(known["results"]) == 2 and "jobName" not in known

    second = awaited("tmdep", "judged", judged_again, "evaluated again")
    newest, before = second["status"]["evaluation"]["results"]
    assert before == found
    assert newest["datasetDigest"] != found["datasetDigest"]
    assert newest["metrics"]["mae"] > found["metrics"]["mae"], "it was never taught such wide ones"
    assert condition(second, "Ready")["status"] == "True", "what is served does not depend on it"
