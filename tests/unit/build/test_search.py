"""The Job of a run that tries several models."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.build.test_trainer import DATA, SETTINGS, run

from tidemill.build.trainer import training_job
from tidemill.contract.names import ANNOTATION_TASK, LABEL_TASK
from tidemill.contract.tasks import TASK, SearchModel

SEARCH = {
    "metric": "mae",
    "trials": 12,
    "parallel": 3,
    "parameters": [{"name": "dropout", "float": {"min": 0, "max": 0.5}}],
}


def task_of(job: dict[str, Any]) -> SearchModel:
    text = job["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK]
    assert len(text) < 10_000
    task = TASK.validate_json(text)
    assert isinstance(task, SearchModel)
    return task


def test_a_search_is_shared_by_the_pods_of_an_indexed_job() -> None:
    job = training_job(run(search=SEARCH), DATA, SETTINGS)
    assert job["metadata"]["labels"][LABEL_TASK] == "SearchModel"
    assert (job["spec"]["completionMode"], job["spec"]["parallelism"], job["spec"]["completions"]) == ("Indexed", 3, 3)
    task = task_of(job)
    assert task.search is not None
    assert task.search.trials == 12
    assert task.auto is None
    assert task.training == TASK.validate_json(
        training_job(run(), DATA, SETTINGS)["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK]
    ), "a trial is the training that the run would be without a search"


def test_a_search_of_one_pod_is_an_ordinary_job() -> None:
    job = training_job(run(search={**SEARCH, "parallel": 1}), DATA, SETTINGS)
    assert "completionMode" not in job["spec"]


def test_an_automatic_trainer_is_a_search() -> None:
    auto = {"target": "arr_delay", "exclude": ["id"], "trials": 7, "parallel": 2}
    job = training_job(run(trainer={"autoRegression": auto}), DATA, SETTINGS)
    task = task_of(job)
    assert (task.search, task.training.task, task.training.trainer.target) == (None, "Regression", "arr_delay")
    assert task.training.trainer.exclude == ("id",)
    assert task.training.field == task.field == "spec.trainer.autoRegression"
    assert job["spec"]["parallelism"] == 2


def test_a_parameter_is_one_kind_of_range() -> None:
    both = {"name": "dropout", "float": {"min": 0, "max": 0.5}, "choices": ["1", "2"]}
    with pytest.raises(ValidationError, match="set exactly one of: float_, int_, choices"):
        run(search={**SEARCH, "parameters": [both]})
