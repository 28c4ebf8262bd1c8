"""Names that more than one part spells: API group, labels, annotations, environment variables, paths, ports."""

from __future__ import annotations

import hashlib
import re

GROUP = "tidemill.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FIELD_MANAGER = "tidemill"
PROMOTION_MANAGER = "tidemill-promotion"

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "tidemill"
COMPONENT = "app.kubernetes.io/component"
LABEL_DATASET = f"{GROUP}/dataset"
LABEL_RUN = f"{GROUP}/trainingrun"
LABEL_MODEL = f"{GROUP}/model"
LABEL_MODEL_VERSION = f"{GROUP}/modelversion"
LABEL_DEPLOYMENT = f"{GROUP}/deployment"
LABEL_POLICY = f"{GROUP}/driftpolicy"
LABEL_POOL = f"{GROUP}/servingpool"
LABEL_POD = f"{GROUP}/pod"
LABEL_TRACK = f"{GROUP}/track"
LABEL_TASK = f"{GROUP}/task"
LABEL_JOB = "batch.kubernetes.io/job-name"
LABEL_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
"""On the pods of an Indexed Job: which of them it is. Pod 0 speaks for all."""
LABEL_PEERS = f"{GROUP}/peers"
"""On the pods of a distributed training the Service that gives them names, on those of a Ray cluster and on its Job's the
cluster: they may speak to each other."""
LABEL_POD_INDEX = "apps.kubernetes.io/pod-index"
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
LABEL_SERVICE = "kubernetes.io/service-name"

ANNOTATION_DIGEST = f"{GROUP}/digest"
"""On every child: the digest of the manifest that was last applied."""
ANNOTATION_TASK = f"{GROUP}/task"
"""On a Job's pod: the task document, read through the downward API."""
ANNOTATION_RETRY = f"{GROUP}/retry"
"""Set by a user on a resource: any new value makes what has failed be tried again. On a Job: the value that it answers."""

ENV_TASK = "TIDEMILL_TASK"
ENV_STORE_ENDPOINT = "TIDEMILL_STORE_ENDPOINT"
ENV_STORE_REGION = "TIDEMILL_STORE_REGION"
ENV_STORE_BUCKET = "TIDEMILL_STORE_BUCKET"
ENV_NAMESPACE = "TIDEMILL_NAMESPACE"
ENV_POD = "TIDEMILL_POD"
ENV_POD_IP = "TIDEMILL_POD_IP"
ENV_POOL = "TIDEMILL_POOL"
ENV_WORK_DIR = "TIDEMILL_WORK_DIR"
ENV_GPU = "TIDEMILL_GPU"
"""The accelerator resource of a task's container, when it asks for one."""
ENV_COMPLETION_INDEX = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in the pods of an Indexed Job: which of them it is."""
ENV_NODES = "TIDEMILL_NODES"
"""Pods of a distributed training, as torchrun's --nnodes: `4`, or `2:4` when it goes on with two."""
ENV_PROCESSES = "TIDEMILL_PROCESSES_PER_NODE"
ENV_STRATEGY = "TIDEMILL_STRATEGY"
ENV_MAX_RESTARTS = "TIDEMILL_MAX_RESTARTS"
ENV_JOIN_TIMEOUT = "TIDEMILL_JOIN_TIMEOUT"
"""Seconds that the pods of a distributed training wait for each other."""
ENV_RENDEZVOUS = "TIDEMILL_RENDEZVOUS"
"""Host and port at which the pods of a distributed training meet: those of its pod 0."""
ENV_PROGRESS_PORT = "TIDEMILL_PROGRESS_PORT"
ENV_INPUT, ENV_OUTPUT, ENV_CHECKPOINT = "TIDEMILL_INPUT", "TIDEMILL_OUTPUT", "TIDEMILL_CHECKPOINT"
"""Folders of a user's own code."""
ENV_TARGET = "TIDEMILL_TARGET"
"""The column that a user's own code learns to predict."""
ENV_PARAMETERS = "TIDEMILL_PARAMETERS"
"""A script's parameters, as JSON."""
CODE_FOLDER = "code"
ENV_TAP_DIR = "TIDEMILL_TAP_DIR"
ENV_TAP_MAX_BYTES = "TIDEMILL_TAP_MAX_BYTES"
TRACE_FILE = "trace/trace"
"""Where Triton's own trace goes, below the tap's folder; Triton appends `.0`, `.1`, …"""
ENV_IMAGE = "TIDEMILL_IMAGE"

TASK_CONTAINER = "task"
"""The container whose termination message is the task's result."""
FETCH_CONTAINER, WATCH_CONTAINER = "fetch", "watch"
"""Before and beside a user's own code."""
TRAINER_CONTAINER, SCRIPT_CONTAINER = "trainer", "script"
"""A user's own code: of `spec.trainer.container`, or of `spec.trainer.script`."""
TERMINATION_MESSAGE_LIMIT = 4096
PROGRESS_PORT = 8080
"""A running task serves /metrics and /progress here."""
TASK_PROGRESS_PORT = 8081
"""Where a task serves them beside `watch`, which passes its words on."""
RENDEZVOUS_PORT = 29500
RAY_CLIENT_PORT = 10001
AGENT_PORT = 8090
TRITON_HTTP_PORT = 8000
TRITON_GRPC_PORT = 8001
TRITON_METRICS_PORT = 8002

INTERNAL_COLUMN_PREFIX = "_tidemill_"
"""Columns that carry bookkeeping (time, request id): never a feature, never a label."""
COLUMN_TIME = "_tidemill_time"
"""Timestamp (UTC, microseconds) at which a logged request was answered."""
COLUMN_REQUEST_ID = "_tidemill_request_id"
COLUMN_VERSION = "_tidemill_version"
"""Number of the model version that answered a logged request."""
EXPECTATIONS_FILE = "expectations.json"
"""Of a dataset's version: how every expectation came out."""
QUARANTINE_FILE = "quarantine.parquet"
"""Of a dataset's version: the rows that expectations of severity Quarantine took out."""
QUARANTINE_EXPECTATION = "_tidemill_expectation"
"""In quarantine.parquet: the names of all expectations that the row breaks."""
QUARANTINE_REASON = "_tidemill_reason"
"""In quarantine.parquet: what is wrong with the row, in words and with its values."""
PREDICTION_PREFIX = "prediction."
"""In the inference log, outputs stand beside the inputs under this prefix: prediction.<output name>."""

NAME_LIMIT = 63


def child_name(*parts: str, limit: int = NAME_LIMIT) -> str:
    """A deterministic DNS label of at most `limit` characters: the parts joined by '-', shortened by a hash when too long."""
    name = re.sub(r"[^a-z0-9-]+", "-", "-".join(parts).lower()).strip("-")
    if len(name) <= limit:
        return name
    digest = hashlib.sha256("/".join(parts).encode()).hexdigest()[:10]
    return f"{name[: limit - 11].rstrip('-')}-{digest}"


def label_value(text: str) -> str:
    """The text as a label value: itself up to 63 characters, else shortened by a hash."""
    return text if len(text) <= NAME_LIMIT else child_name(text)
