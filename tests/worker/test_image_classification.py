"""Image classifiers against a real store, on real handwritten digits: quality, pixels, augmentation, resume, what follows."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest
import torch

from tidemill.contract.model import Baseline, Evaluation, Signature
from tidemill.contract.results import TrainResult
from tidemill.contract.tasks import TASK, TrainModel
from tidemill_worker.model.pictures import pixels
from tidemill_worker.train import image
from tidemill_worker.train.image.augment import Augmentation
from tidemill_worker.train.trained import train as train_once

from .image_cases import Document, as_files, as_lists, classify, dataset, digits, png
from .lab import OWNER, Lab


def parsed(document: Document) -> TrainModel:
    task = TASK.validate_python({"owner": OWNER, **document})
    assert isinstance(task, TrainModel)
    return task


def test_digits_are_learnt_and_a_complete_model_is_published(lab: Lab) -> None:
    result = lab.run(classify(lab, dataset(lab, as_files()), gates=[{"metric": "accuracy", "min": 0.8}], evaluation={}))
    assert isinstance(result, TrainResult)
    assert (result.epochs, result.device, result.warnings) == (5, "cpu", ())
    assert result.metrics["test"]["accuracy"] > 0.85
    assert result.metrics["test"]["logLoss"] < 0.6
    model = result.artifact.uri
    signature = Signature.model_validate(lab.get_json(f"{model}/signature.json"))
    (given,) = signature.inputs
    assert (given.name, given.datatype, given.shape) == ("picture", "UINT8", (-1, 8, 8, 1))
    assert signature.classes == tuple(f"d{digit}" for digit in range(10))
    told = Evaluation.model_validate(lab.get_json(f"{model}/evaluation.json"))
    assert told.details["test"].confusion is not None
    assert sum(map(sum, told.details["test"].confusion.counts)) == told.rows["test"]
    baseline = Baseline.model_validate(lab.get_json(f"{model}/baseline.json"))
    assert ([f.name for f in baseline.features], [p.name for p in baseline.predictions]) == ([], ["prediction.label"])
    assert not [name for name in lab.list("models/") if "explanation" in name], "a picture is one column"
    lines = [json.loads(line) for line in lab.get(f"{lab.root}/runs/run/uid/metrics.jsonl").splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[-1]["validationLoss"] < lines[0]["validationLoss"]
    assert lab.run({"type": "VerifyModel", "artifact": result.artifact.model_dump()}).outputs == 2
    session = ort.InferenceSession(lab.get(f"{model}/model.onnx"))
    whole, names = digits()
    labels, probabilities = session.run(["label", "probabilities"], {"picture": whole[:50, :, :, None]})
    assert np.mean(labels[:, 0] == np.array(names[:50])) > 0.85
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_lists_of_pixels_give_the_very_model_that_files_do(lab: Lab) -> None:
    """The split is by the rows' content, which differs: all rows are trained on."""
    split = {"validation": 0, "test": 0}
    models = []
    for run, columns in (("files", as_files(200)), ("lists", as_lists(200))):
        document = classify(lab, dataset(lab, columns, run, **split), run, trainer={"epochs": 1})
        found = image.read(parsed(document), lab.context())
        order = np.argsort([bytes(p.tobytes()) for p in pixels(found.train.rows, "picture", (8, 8, 1))])
        models.append(pixels(found.train.rows, "picture", (8, 8, 1))[order])
        assert lab.run(document).metrics["train"]["accuracy"] > 0.1
    assert np.array_equal(*models)


def test_files_are_decoded_resized_and_converted() -> None:
    grey = np.full((20, 10), 100, np.uint8)
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[:, :, 0] = 200
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:, :, 1], clear[:, :, 3] = 255, 51
    table = pa.table({"p": [png(grey), png(colour), png(colour, "JPEG", quality=95), png(clear)]})
    found = pixels(table, "p", (4, 6, 3))
    assert found.shape == (4, 4, 6, 3)
    assert (found[0] == 100).all()
    assert (found[1] == [200, 0, 0]).all()
    assert np.abs(found[2].astype(int) - [200, 0, 0]).max() < 6
    assert np.abs(found[3].astype(int) - [0, 51, 0]).max() <= 1, "what is transparent is black behind"
    assert pixels(table, "p", (2, 2, 1))[1, 0, 0, 0] == 60, "grey as ITU-R 601-2 weighs red"


def test_augmented_pictures_are_the_pictures_mirrored_and_moved() -> None:
    whole = torch.arange(1, 2 * 6 * 5 * 3 + 1, dtype=torch.uint8).reshape(2, 6, 5, 3).repeat(20, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    (mirrored,) = Augmentation(sideways=True, upside_down=False, shift=0)([whole], generator)
    same = [bool((a == b).all()) for a, b in zip(mirrored, whole, strict=True)]
    other = [bool((a == b.flip(1)).all()) for a, b in zip(mirrored, whole, strict=True)]
    assert all(a != b for a, b in zip(same, other, strict=True))
    assert 5 < sum(other) < 35
    (moved,) = Augmentation(sideways=False, upside_down=False, shift=2)([whole], generator)
    padded = torch.nn.functional.pad(whole, (0, 0, 2, 2, 2, 2))
    places = set()
    for a, b in zip(moved, padded, strict=True):
        fits = [(y, x) for y in range(5) for x in range(5) if (a == b[y : y + 6, x : x + 5]).all()]
        assert len(fits) == 1
        places.add(fits[0])
    assert len(places) > 12


def test_interrupted_it_ends_as_if_nothing_had_happened(lab: Lab) -> None:
    data = dataset(lab, as_files(300))
    drawn = {"flip": "Horizontal", "shift": 1, "dropout": 0.3, "patience": 4, "weightDecay": 0.01, "epochs": 4}
    smooth = lab.run(classify(lab, data, "smooth", trainer=drawn))
    document = classify(lab, data, "rough", trainer=drawn)
    task, context = parsed(document), lab.context()

    class Lost(Exception):
        pass

    def lose(epoch: int, _loss: float) -> None:
        if epoch == 2:
            raise Lost

    with pytest.raises(Lost):
        train_once(task, image.read(task, context), context, lose)
    rough = lab.run(document)
    assert (rough.metrics, rough.epochs) == (smooth.metrics, smooth.epochs)
    assert rough.artifact.digest == smooth.artifact.digest
    assert lab.run(classify(lab, data, "other", trainer={**drawn, "seed": 4})).artifact.digest != smooth.artifact.digest


def test_weights_of_an_earlier_model_are_where_a_training_starts(lab: Lab) -> None:
    data = dataset(lab, as_files())
    first = lab.run(classify(lab, data, "first"))
    uri = f"{first.artifact.uri}/weights.safetensors"
    start = {"uri": uri, "sha256": hashlib.sha256(lab.get(uri)).hexdigest()}
    again = lab.run(classify(lab, data, "again", trainer={"epochs": 1, "learningRate": 1e-4, "startFrom": start}))
    assert again.metrics["test"]["accuracy"] > 0.85, "one epoch from nothing does not come so far"
    provenance = lab.get_json(f"{again.artifact.uri}/provenance.json")
    assert provenance["inputs"][uri] == f"sha256:{start['sha256']}"
    # other classes: the blocks are kept as they are, and the head begins anew
    pixels_, names = digits()
    odd = {**as_files(), "digit": ["odd" if int(name[1]) % 2 else "even" for name in names]}
    head = lab.run(
        classify(lab, dataset(lab, odd, "odd"), "head", trainer={"startFrom": {**start, "train": "Head"}, "epochs": 8})
    )
    assert len(pixels_) == 700
    assert head.metrics["test"]["accuracy"] > 0.8
    before, after = (load(lab, f"{result.artifact.uri}/weights.safetensors") for result in (first, head))
    for name, tensor in before.items():
        assert (name.startswith("head.")) != (
            tensor.shape == after[name].shape and bool((tensor == after[name]).all())
        ), name


def load(lab: Lab, uri: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load as parse

    found: dict[str, torch.Tensor] = parse(lab.get(uri))
    return found


def test_rare_classes_count_as_much_when_balanced(lab: Lab) -> None:
    pixels_, names = digits(600)
    rare = [place for place, name in enumerate(names) if name != "d3" or place % 6 == 0]
    columns = {
        "picture": [png(pixels_[p]) for p in rare],
        "digit": ["three" if names[p] == "d3" else "other" for p in rare],
    }
    data = dataset(lab, {**columns, "picture": pa.array(columns["picture"], pa.binary())})
    plain = lab.run(classify(lab, data, "plain", trainer={"epochs": 12}))
    balanced = lab.run(classify(lab, data, "balanced", trainer={"epochs": 12, "classWeights": "Balanced"}))
    assert balanced.metrics["train"]["balancedAccuracy"] > plain.metrics["train"]["balancedAccuracy"]


def test_variants_and_exports(lab: Lab) -> None:
    """Convolutions are quantized, and OpenVINO takes the same pixels."""
    data = dataset(lab, as_files())
    model = lab.run(classify(lab, data))
    optimise = {
        "type": "OptimiseModel",
        "artifact": model.artifact.model_dump(),
        "dataset": data,
        "optimisation": {"name": "int8", "tolerance": {"maxErrorIncrease": 0.05, "maxLatencyRatio": 10}},
        "root": f"{lab.root}/variants",
    }
    report = lab.run(optimise).report
    assert report.accepted, report.reason
    assert report.size_bytes_after < report.size_bytes_before
    export = {
        "type": "ExportModel",
        "artifact": model.artifact.model_dump(),
        "export": {"name": "edge", "format": "OpenVINO"},
        "root": f"{lab.root}/exports",
    }
    exported = lab.run(export).report
    assert exported.accepted, exported.reason


def test_a_batch_scores_pictures(lab: Lab) -> None:
    data = dataset(lab, as_files(300))
    model = lab.run(classify(lab, data, trainer={"epochs": 1}))
    task = {"type": "ScoreBatch", "artifact": model.artifact.model_dump(), "dataset": data, "root": f"{lab.root}/batch"}
    result = lab.run({**task, "splits": ["test"]})
    scores = lab.get_table(f"{result.artifact.uri}/test.parquet")
    assert scores.column_names[:2] == ["picture", "digit"]
    assert set(scores.column("prediction.label").to_pylist()) <= {f"d{digit}" for digit in range(10)}
