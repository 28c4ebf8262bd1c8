"""config.pbtxt: made from a signature, or a user's own with our fields put in."""

from __future__ import annotations

from typing import Any

import pytest
from tests.agent.models import signature

from tidemill.api.v1alpha1.modelplacement import ModelPlacementSpec
from tidemill.contract.model import Signature, TensorSpec, Tokens, is_not_served
from tidemill_agent.errors import LoadError
from tidemill_agent.modelconfig import MAX_BATCH_SIZE, batches, marks_of, render
from tidemill_agent.pbtxt import Word, dumps, without_fields

SPEC = ModelPlacementSpec(
    pool="pool",
    pod="pool-0",
    deployment="delay",
    model_version="delay-v3",
    version=3,
    artifact_uri="s3://bucket/model",
    artifact_digest="sha256:" + "a" * 64,
)


def config(found: Signature, user: str | None = None) -> str:
    """The text for a placement of version 3."""
    return render(name="delay", spec=SPEC, signature=found, user_config=user)


def tensor(name: str, shape: tuple[int, ...], datatype: Any = "FP32") -> TensorSpec:
    """A tensor."""
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def test_rows_with_a_free_first_dimension_are_batched() -> None:
    text = config(signature())
    assert batches(signature())
    assert f"max_batch_size: {MAX_BATCH_SIZE}\n" in text
    assert "dynamic_batching {\n}" in text
    assert 'name: "carrier"\n  data_type: TYPE_STRING\n  dims: [1]' in text
    assert "versions: [3]" in text
    assert "kind" not in text, "the same configuration serves on CPU and GPU"


def test_a_fixed_first_dimension_is_not_batched() -> None:
    fixed = Signature(task="Other", inputs=(tensor("x", (1, 3)),), outputs=(tensor("y", (-1, 2)),))
    text = config(fixed)
    assert "max_batch_size: 0\n" in text
    assert "dims: [1, 3]" in text
    assert "dynamic_batching" not in text


def test_a_vector_of_rows_is_reshaped() -> None:
    vector = Signature(task="Other", inputs=(tensor("x", (-1, 3)),), outputs=(tensor("y", (-1,)),))
    assert "dims: [1]\n  reshape {\n    shape: []\n  }" in config(vector)


def test_tokens_are_batched_and_of_any_number() -> None:
    """Triton joins requests of equal lengths only; padding is the client's."""
    inputs = tuple(tensor(name, (-1, -1), "INT64") for name in ("input_ids", "attention_mask"))
    text = config(
        Signature(
            task="Classification",
            inputs=inputs,
            outputs=(tensor("label", (-1, 1), "BYTES"), tensor("probabilities", (-1, 3))),
            classes=("a", "b", "c"),
            tokens=Tokens(column="body", max_tokens=64, pad=0),
        )
    )
    assert 'name: "attention_mask"\n  data_type: TYPE_INT64\n  dims: [-1]' in text
    assert f"max_batch_size: {MAX_BATCH_SIZE}\n" in text
    kept = [
        name for name in ("model.onnx", "tokenizer.json", "huggingface/model.safetensors") if not is_not_served(name)
    ]
    assert kept == ["model.onnx", "tokenizer.json"]


def test_a_users_own_text_keeps_everything_but_name_and_version() -> None:
    own = """
    # a comment { with brackets
    name: 'theirs' backend: "onnxruntime", max_batch_size: 8;
    version_policy { specific { versions: [1, 2] } }
    input < name: "a" "b" dims: [ -1 ] > parameters { key: "x" value { string_value: "name: \\"q\\"" } }
    """
    text = config(signature(), own)
    for kept in ('backend: "onnxruntime"', "max_batch_size: 8", 'input < name: "a" "b" dims: [ -1 ] >', 'key: "x"'):
        assert kept in text
    assert "theirs" not in text
    assert "[1, 2]" not in text
    assert text.count("version_policy") == 1


@pytest.mark.parametrize("broken", ["input {", "}", "a: 1 ]", 'name: "unclosed', "name: @"])
def test_what_is_no_protobuf_text_is_refused(broken: str) -> None:
    with pytest.raises(LoadError, match=r"config\.pbtxt is not protobuf text"):
        without_fields(broken, ("name",))


def test_texts_are_escaped() -> None:
    assert (
        dumps({"a": 'q"\\\nü', "b": Word("TYPE_X"), "c": True}) == 'a: "q\\"\\\\\\012\\303\\274"\nb: TYPE_X\nc: true\n'
    )


def test_marks_are_read_back() -> None:
    parameters = {
        "tidemill_artifact_digest": {"string_value": "sha256:x"},
        "tidemill_variant": {"string_value": "int8"},
    }
    marks = marks_of({"backend": "onnxruntime", "parameters": parameters})
    assert (marks.digest, marks.variant, marks.model_version, marks.backend) == ("sha256:x", "int8", "", "onnxruntime")
