"""Where things lie in the artifact store: `s3://<bucket>/<namespace>/…`."""

from __future__ import annotations


def join(*parts: str) -> str:
    """URI parts joined by single slashes."""
    return "/".join(p.strip("/") if i else p.rstrip("/") for i, p in enumerate(parts))


def namespace_root(bucket: str, namespace: str) -> str:
    """Everything of a namespace lies under this URI."""
    return f"s3://{bucket}/{namespace}"


def dataset_root(bucket: str, namespace: str, name: str) -> str:
    """A Dataset's versions lie in `<root>/<digest hex>/`, pointers from task ids to digests in `<root>/tasks/<id>.json`."""
    return f"{namespace_root(bucket, namespace)}/datasets/{name}"


def dataset_of(uri: str) -> str | None:
    """The name of the Dataset whose version lies there, None when it is no Dataset's folder."""
    parts = uri.rstrip("/").split("/")
    return parts[-2] if len(parts) > 3 and parts[-3] == "datasets" else None


def run_root(bucket: str, namespace: str, name: str, uid: str) -> str:
    """Checkpoints, metrics and logs of one TrainingRun."""
    return f"{namespace_root(bucket, namespace)}/runs/{name}/{uid}"


def model_root(bucket: str, namespace: str, model: str, run: str, uid: str) -> str:
    """The model artifact that one TrainingRun makes; unique for ever, since a run's UID is."""
    return f"{namespace_root(bucket, namespace)}/models/{model}/{run}-{uid[:8]}"


def variant_root(artifact_uri: str, variant: str, task_id: str) -> str:
    """An optimised variant or an export of a model artifact."""
    return f"{artifact_uri.rstrip('/')}.{variant}-{task_id}"


def inference_log_root(bucket: str, namespace: str, deployment: str) -> str:
    """Logged requests: `<root>/<YYYY-MM-DD>/<HH>/<pod>-<first segment>-<version and columns>.parquet`."""
    return f"{namespace_root(bucket, namespace)}/inference-log/{deployment}"


def drift_root(bucket: str, namespace: str, policy: str) -> str:
    """Reports and champion / challenger comparisons of a DriftPolicy."""
    return f"{namespace_root(bucket, namespace)}/drift/{policy}"


def evaluation_root(bucket: str, namespace: str, deployment: str) -> str:
    """Reports on what a Deployment uses, by versions of a Dataset."""
    return f"{namespace_root(bucket, namespace)}/evaluations/{deployment}"


def batch_root(bucket: str, namespace: str, deployment: str) -> str:
    """Scores of a batch Deployment."""
    return f"{namespace_root(bucket, namespace)}/batch/{deployment}"


def edge_root(bucket: str, namespace: str, deployment: str) -> str:
    """Bundles of an edge Deployment."""
    return f"{namespace_root(bucket, namespace)}/edge/{deployment}"
