"""Names and labels of the metrics that the agent and the operator export and that PromQL refers to."""

from __future__ import annotations

FEATURE_BIN_TOTAL = "tidemill_feature_bin_total"
"""Counter {namespace, deployment, version, digest, feature, bin}: sampled values by the baseline's bin."""
FEATURE_MISSING_TOTAL = "tidemill_feature_missing_total"
"""Counter {namespace, deployment, version, digest, feature}: sampled values that were missing."""
FEATURE_VALUES_TOTAL = "tidemill_feature_values_total"
"""Counter {namespace, deployment, version, digest, feature}: all sampled values, missing ones included."""
BASELINE_BIN_RATIO = "tidemill_baseline_bin_ratio"
"""Gauge {namespace, deployment, version, digest, feature, bin}: the bin's share in the training split (they sum to 1)."""
BASELINE_MISSING_RATIO = "tidemill_baseline_missing_ratio"
"""Gauge {namespace, deployment, version, digest, feature}: the share of missing values in the training split."""
SAMPLED_REQUESTS_TOTAL = "tidemill_sampled_requests_total"
"""Counter {namespace, deployment, version, digest}: requests counted."""
DROPPED_SAMPLES_TOTAL = "tidemill_dropped_samples_total"
"""Counter {namespace, deployment}: sampled requests that the tap dropped because a queue or the disk was full."""
DRIFT_SCORE = "tidemill_drift_score"
"""Gauge of the operator {namespace, policy, deployment, feature, metric}."""

EVALUATION_METRIC = "tidemill_evaluation_metric"
"""Gauge of the operator {namespace, deployment, model, version, dataset, metric}: of the newest evaluation of what a Deployment
uses, on the test split."""
EVALUATION_OUTCOME = "tidemill_evaluation_outcome"
"""Gauge of the operator {namespace, deployment, model, version, dataset, outcome}: 1 for how the newest evaluation ended. It is
Passed, GateNotPassed or Failed."""
EVALUATION_TIME = "tidemill_evaluation_timestamp_seconds"
"""Gauge of the operator {namespace, deployment, model, version, dataset}: when it ended."""

LABEL_NAMESPACE, LABEL_DEPLOYMENT, LABEL_VERSION = "namespace", "deployment", "version"
LABEL_DIGEST = "digest"
"""The loaded artifact's, short: a version's number may come back with another model's bins, and must not meet its counts."""
LABEL_FEATURE, LABEL_BIN = "feature", "bin"
RATIO_FLOOR = 1e-4
"""Shares are clipped to this before a logarithm is taken."""
DIGEST_LENGTH = 12


def short_digest(digest: str) -> str:
    """The value of the label `digest`: the first hex digits of an artifact's digest."""
    return digest.removeprefix("sha256:")[:DIGEST_LENGTH]
