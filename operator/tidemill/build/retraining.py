"""The children of a retraining: the Dataset that appends the labelled log, and the TrainingRun of the challenger."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tidemill.api.durations import format_time, parse_time
from tidemill.api.v1alpha1.driftpolicy import Attempt, DriftPolicy, Retrain
from tidemill.api.v1alpha1.trainingrun import TrainingRunSpec
from tidemill.build.metadata import metadata, owner_labels
from tidemill.contract.names import API_VERSION, COLUMN_TIME, GROUP, child_name

Manifest = dict[str, Any]

LABEL_ATTEMPT = f"{GROUP}/attempt"
"""On a retraining's children: its number."""
VALIDATION_SHARE = 0.1
ENOUGH_ROWS = "enough-labelled-rows"


def attempt_name(policy: str, number: int) -> str:
    """The name of a retraining's Dataset and of its TrainingRun."""
    return child_name(policy, str(number))


def _metadata(policy: DriftPolicy, attempt: Attempt) -> Manifest:
    meta = policy.metadata
    labels = owner_labels(policy.ref, {LABEL_ATTEMPT: str(attempt.number)})
    return metadata(name=attempt_name(meta.name, attempt.number), namespace=meta.namespace, labels=labels)


def retraining_dataset(
    policy: DriftPolicy,
    retrain: Retrain,
    attempt: Attempt,
    *,
    base_digest: str | None,
    base_rows: int,
    deployed_at: str | None = None,
) -> Manifest:
    """The base's version as it is now, then the labelled log up to the trigger; the newest rows judge both models.

    `deployed_at` is when the Deployment was created: the log before it is of another one that had its name.
    """
    window = retrain.gate.window_rows
    log: Manifest = {
        "deployment": policy.spec.deployment,
        "labels": retrain.labels.model_dump(mode="json", by_alias=True, exclude_none=True),
        "until": attempt.triggered_at,
    }
    if deployed_at is not None:
        log["since"] = deployed_at
        if parse_time(deployed_at) >= parse_time(attempt.triggered_at):
            # Made anew after the trigger: an empty time, so that the Dataset says that there is nothing to learn from.
            log["until"] = format_time(parse_time(deployed_at) + timedelta(seconds=1))
    if retrain.max_log_rows is not None:
        log["newestRows"] = retrain.max_log_rows
    inputs: list[Manifest] = [{"name": "log", "inferenceLog": log}]
    if retrain.base and base_digest:
        inputs.insert(0, {"name": "base", "dataset": {"name": retrain.base, "digest": base_digest}})
    return {
        "apiVersion": API_VERSION,
        "kind": "Dataset",
        "metadata": _metadata(policy, attempt),
        "spec": {
            "inputs": inputs,
            "expectations": [
                {
                    "name": ENOUGH_ROWS,
                    "severity": "Fail",
                    "rowCount": {"min": base_rows + window + retrain.min_labelled_rows},
                }
            ],
            "split": {
                "byTime": {
                    "column": COLUMN_TIME,
                    "validation": VALIDATION_SHARE,
                    # what is newest is what the challenger must learn: only the rows that judge it are kept from it
                    "validationRows": "Random",
                    "testRows": window,
                }
            },
            "resources": retrain.resources.model_dump(mode="json", by_alias=True, exclude_none=True),
            "job": retrain.job.model_dump(mode="json", by_alias=True, exclude_none=True),
        },
    }


def challenger_run(policy: DriftPolicy, retrain: Retrain, attempt: Attempt, template: TrainingRunSpec) -> Manifest:
    """The template's run on the retraining's Dataset. Its model asks for no stage: the policy's gate decides on that.

    The template's own gates are left out. Their bounds are absolute: in a harder season they would fail a challenger that is
    better than the champion, before the two are compared.
    """
    spec = template.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"gates"})
    spec["dataset"] = {"name": attempt_name(policy.metadata.name, attempt.number), "digest": attempt.dataset_digest}
    spec["suspend"] = False
    model = {**spec["model"], "stage": "None"}
    if "Manual" in (retrain.approval, template.model.approval.mode):
        # Without `approvedBy`: whoever approved the template's model has not seen this one.
        model["approval"] = {"mode": "Manual"}
    spec["model"] = model
    return {"apiVersion": API_VERSION, "kind": "TrainingRun", "metadata": _metadata(policy, attempt), "spec": spec}
