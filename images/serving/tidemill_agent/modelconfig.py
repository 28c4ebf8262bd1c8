"""Triton's config.pbtxt of a model: the user's own, or made from the signature. Pure.

Every input and output with a free first dimension means that rows can be joined: the model batches, and clients send
[N, …] as the signature says. No queue delay: it would cost a sparse model more than it gains. The instance group names
no kind, so one configuration serves on CPU and GPU servers alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.api.v1alpha1.modelplacement import ModelPlacementSpec
from tidemill.contract.model import Signature, TensorSpec
from tidemill_agent.pbtxt import Word, dumps, without_fields

MAX_BATCH_SIZE = 4096
DIGEST, MODEL_VERSION, VARIANT = "tidemill_artifact_digest", "tidemill_model_version", "tidemill_variant"
"""Parameters of the configuration: a restarted agent learns from Triton itself what is loaded."""
_OWNED = ("name", "version_policy")
_TYPES = {"BYTES": "TYPE_STRING"}


def batches(signature: Signature) -> bool:
    """Whether the first dimension of every tensor is the row."""
    return all(t.shape and t.shape[0] == -1 for t in (*signature.inputs, *signature.outputs))


def render(*, name: str, spec: ModelPlacementSpec, signature: Signature, user_config: str | None) -> str:
    """The text of config.pbtxt. A user's own decides everything but the name, the version and our parameters."""
    marks = {DIGEST: spec.artifact_digest, MODEL_VERSION: spec.model_version, VARIANT: spec.variant}
    own: dict[str, Any] = {
        "name": name,
        "version_policy": {"specific": {"versions": [spec.version]}},
        "parameters": [{"key": key, "value": {"string_value": value}} for key, value in marks.items()],
    }
    if user_config is not None:
        return without_fields(user_config, _OWNED) + dumps(own)
    batching = batches(signature)
    config: dict[str, Any] = {
        "backend": "onnxruntime",
        "max_batch_size": MAX_BATCH_SIZE if batching else 0,
        "input": [_tensor(t, batching=batching) for t in signature.inputs],
        "output": [_tensor(t, batching=batching) for t in signature.outputs],
        "instance_group": [{"count": 1}],
    }
    if batching:
        config["dynamic_batching"] = {}
    return dumps({**own, **config})


def _tensor(spec: TensorSpec, *, batching: bool) -> dict[str, Any]:
    dims = list(spec.shape[1:] if batching else spec.shape)
    tensor: dict[str, Any] = {"name": spec.name, "data_type": Word(_TYPES.get(spec.datatype, f"TYPE_{spec.datatype}"))}
    # Triton knows no empty dims: [1] stands for them, and with batching a reshape gives the model its own rank.
    tensor["dims"] = dims or [1]
    if not dims and batching:
        tensor["reshape"] = {"shape": []}
    return tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What a configuration that Triton returned says about the model: empty when we did not write it."""

    digest: str
    model_version: str
    variant: str
    backend: str


def marks_of(config: Mapping[str, Any]) -> Marks:
    """Read our parameters back."""
    parameters = config.get("parameters", {})

    def text(key: str) -> str:
        return str(parameters.get(key, {}).get("string_value", ""))

    return Marks(
        digest=text(DIGEST),
        model_version=text(MODEL_VERSION),
        variant=text(VARIANT),
        backend=str(config.get("backend", "")),
    )
