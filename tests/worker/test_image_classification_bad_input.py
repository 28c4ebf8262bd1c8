"""Image classifiers and what can be wrong: files that are no pictures, lists of other lengths, weights that do not fit."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pydantic import ValidationError
from safetensors.numpy import save

from tidemill_worker.errors import (
    ArtifactCorrupt,
    ColumnMissing,
    ColumnType,
    GateNotPassed,
    InvalidData,
    InvalidSpec,
    ObjectNotFound,
)

from .image_cases import Document, as_files, as_lists, classify, dataset, digits, png
from .lab import Lab

FIELD = "spec.trainer.imageClassification"


def refused(lab: Lab, error: type, document: Document) -> Any:
    with pytest.raises(error) as caught:
        lab.run(document)
    assert 64 <= caught.value.exit_code <= 78
    assert not lab.list("runs/run/uid/checkpoints/"), "no epoch was trained"
    assert not lab.list("models/")
    return caught.value


@pytest.mark.parametrize(
    ("trainer", "error", "field", "words"),
    [
        ({"image": "nosuch"}, ColumnMissing, ".image", "there is no column 'nosuch'"),
        ({"target": "nosuch"}, ColumnMissing, ".target", "there is no column 'nosuch'"),
        ({"image": "digit"}, ColumnType, ".image", "column 'digit' is string, not a picture"),
        ({"target": "picture", "image": "picture"}, ColumnType, ".target", "classes are text"),
    ],
)
def test_columns_that_do_not_fit(lab: Lab, trainer: Document, error: type, field: str, words: str) -> None:
    found = refused(lab, error, classify(lab, dataset(lab, as_files(100)), trainer=trainer))
    assert found.field == f"{FIELD}{field}"
    assert words in found.message, found.message


def broken(kind: str) -> bytes | None:
    good = png(digits(1)[0][0])
    body = io.BytesIO()
    match kind:
        case "missing":
            return None
        case "gif":
            Image.fromarray(digits(1)[0][0]).save(body, "GIF")
            return body.getvalue()
        case "cut":
            return good[: len(good) // 2]
        case "huge":
            Image.new("1", (9000, 9000)).save(body, "PNG")
            return body.getvalue()
        case _:
            return b"not a picture"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "is missing (1 in all): filter them in the dataset"),
        ("text", "is no PNG or JPEG that can be decoded"),
        ("gif", "is no PNG or JPEG that can be decoded"),
        ("cut", "is no PNG or JPEG that can be decoded"),
        ("huge", "has 9000 × 9000 pixels, more than 64,000,000 in all"),
    ],
)
def test_files_that_are_no_pictures(lab: Lab, kind: str, words: str) -> None:
    columns = as_files(60)
    files = columns["picture"].to_pylist()
    files[7] = broken(kind)
    data = dataset(lab, {**columns, "picture": pa.array(files, pa.binary())}, validation=0, test=0)
    error = refused(lab, InvalidData, classify(lab, data))
    assert error.field == f"{FIELD}.image"
    assert error.message.startswith(f"{FIELD}.image: 'picture' of row ")
    assert words in error.message, error.message


@pytest.mark.parametrize(
    ("values", "words"),
    [([0] * 63, "has 63 numbers, not 64 (8 × 8 × 1)"), ([0.5] * 64, "holds 0.5"), ([256] * 64, "holds 256")],
)
def test_lists_that_are_no_pictures(lab: Lab, values: list[float], words: str) -> None:
    columns = as_lists(60)
    columns["picture"][7] = values
    columns["picture"] = [[float(v) for v in row] for row in columns["picture"]]
    error = refused(lab, InvalidData, classify(lab, dataset(lab, columns, validation=0, test=0)))
    assert words in error.message, error.message


def test_weights_that_do_not_fit(lab: Lab) -> None:
    data = dataset(lab, as_files(100))

    def start(body: bytes, name: str) -> Document:
        return {"startFrom": {"uri": lab.put(name, body), "sha256": hashlib.sha256(body).hexdigest()}}

    uri = f"{lab.root}/nothing"
    gone = {"startFrom": {"uri": uri, "sha256": "0" * 64}}
    assert uri in refused(lab, ObjectNotFound, classify(lab, data, trainer=gone)).message
    text = start(b"no weights", "text")
    assert "is no safetensors file" in refused(lab, InvalidData, classify(lab, data, trainer=text)).message
    text["startFrom"]["sha256"] = "0" * 64
    error = refused(lab, ArtifactCorrupt, classify(lab, data, trainer=text))
    assert (error.field, "not 0000" in error.message) == (f"{FIELD}.startFrom.sha256", True)
    other = start(save({"mean": np.zeros(1, np.float32)}), "other")
    assert "has no weight" in refused(lab, InvalidData, classify(lab, data, trainer=other)).message
    model = lab.run(classify(lab, data, "wide", trainer={"filters": [8, 8], "epochs": 1}))
    wide = start(lab.get(f"{model.artifact.uri}/weights.safetensors"), "wide")
    with pytest.raises(InvalidData, match=r"has shape \[8, 1, 3, 3\], this network's \[16, 1, 3, 3\]"):
        lab.run(classify(lab, data, trainer=wide))


def test_more_than_the_pod_has_room_for(lab: Lab) -> None:
    small = lab.with_environment(memory_bytes=1000)
    error = refused(small, InvalidSpec, classify(small, dataset(small, as_files(60))))
    assert error.field == f"{FIELD}.height"


def test_gates_and_patience(lab: Lab) -> None:
    data = dataset(lab, as_files(100), validation=0)
    error = refused(lab, InvalidSpec, classify(lab, data, trainer={"patience": 2}))
    assert error.field == f"{FIELD}.patience"
    error = refused(lab, InvalidSpec, classify(lab, data, gates=[{"metric": "rocAuc", "min": 0.5}]))
    assert "rocAuc needs a target of two classes" in error.message
    with pytest.raises(GateNotPassed, match=r"test accuracy is .*, below the minimum 1"):
        lab.run(classify(lab, data, trainer={"epochs": 1}, gates=[{"metric": "accuracy", "min": 1}]))


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ({"height": 4}, "greater than or equal to 8"),
        ({"filters": []}, "at least 1 item"),
        ({"channels": "CMYK"}, "Input should be 'RGB' or 'Grey'"),
        ({"startFrom": {"uri": "https://a/b", "sha256": "0" * 64}}, "match pattern"),
        ({"filters": [8] * 4}, "leave nothing of it"),
    ],
)
def test_values_that_the_contract_refuses(lab: Lab, trainer: Document, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        lab.run(classify(lab, {"uri": "s3://a/b", "digest": "sha256:" + "0" * 64}, trainer=trainer))
