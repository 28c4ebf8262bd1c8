"""Every row takes the same way through the graph as through LightGBM's trees."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest

from tidemill_worker.model.predictor import Predictor
from tidemill_worker.train import graph
from tidemill_worker.train.boosting import forest

from .boosting_cases import HARD, Document, fit, hard
from .lab import Lab
from .samples import boost, dataset_of


def nasty(number: int, thresholds: np.ndarray) -> pa.Table:
    """Rows unlike those of training: unseen categories, infinities, extremes, denormals, values on the very thresholds."""
    columns = hard(number, seed=99)
    edge = np.resize(thresholds, number)
    for name in ("wide", "full", "share"):
        values = np.array(columns[name], dtype=np.float64)
        for offset, value in enumerate((np.inf, -np.inf, np.nan, 3e38, -3e38, 1e300, 1e-42, -1e-42, 0.0, -0.0)):
            values[offset::97] = value
        values[20::97] = edge[20::97]
        values[21::97] = np.nextafter(edge[21::97], np.float32(np.inf))
        values[22::97] = np.nextafter(edge[22::97], np.float32(-np.inf))
        columns[name] = values.tolist()
    columns["code"][::13] = ["never seen"] * len(columns["code"][::13])
    columns["kind"][::17] = [""] * len(columns["kind"][::17])
    return pa.table(columns)


OBJECTIVES: list[tuple[str, Document]] = [
    ("Regression", {"target": "target"}),
    ("Regression", {"target": "target", "loss": "AbsoluteError"}),
    ("Regression", {"target": "target", "loss": "Huber", "l1": 0.1, "l2": 1.0, "maxDepth": 4}),
    ("Regression", {"target": "target", "loss": "Quantile", "quantile": 0.9}),
    ("Classification", {"target": "side"}),
    ("Classification", {"target": "side", "classWeights": "Balanced"}),
    ("Classification", {"target": "quarter", "trees": 30}),
]


@pytest.mark.parametrize(
    ("kind", "trainer"), OBJECTIVES, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)
def test_every_row_takes_the_same_way_in_onnx_as_in_lightgbm(lab: Lab, kind: str, trainer: Document) -> None:
    """10,000 rows of the worst kind; a single wrong turn would show as the difference between two leaves."""
    data = dataset_of(lab, hard(HARD, seed=1))
    features = {
        "features": ["wide", "full", "share", "code", "kind"],
        "exclude": [],
        "subsample": 0.8,
        "featureFraction": 0.8,
    }
    fitted, read, context = fit(lab, boost(lab, data, kind, trainer={**features, **trainer}))
    trees = fitted.trees()
    assert sum(bool(codes) for tree in trees for codes in tree.codes) > 20, "categories are split on"
    assert max(len(codes) for tree in trees for codes in tree.codes) > 8, "and not one by one"
    thresholds = np.concatenate([tree.threshold for tree in trees])
    rows = nasty(10_000, thresholds[np.isfinite(thresholds)])
    place = context.folder("model") / "model.onnx"
    graph.save(fitted.export(), place)
    wanted = fitted.target.decode(fitted.raw(rows))
    unit = fitted.target.scale if kind == "Regression" else 1.0
    leaf = np.concatenate([np.abs(np.diff(np.unique(tree.leaf))) for tree in trees])
    predictor = Predictor(place, read.signature())
    for threads in (1, 3):  # a server may use several
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        predictor.session = ort.InferenceSession(str(place), options)
        name = "prediction" if kind == "Regression" else "probabilities"
        found = predictor.run(rows)[name]
        error = np.max(np.abs(found.reshape(wanted.shape) - wanted)) / unit
        assert error < 5e-6, f"{error:.3g} of the target's deviation, {threads} threads"
        assert error < np.median(leaf) / 50, "two leaves differ by far more"
        single = np.concatenate([predictor.run(rows.slice(i, 1))[name] for i in range(100)])
        np.testing.assert_allclose(single, found[:100], rtol=1e-5, atol=1e-5 * unit)


def test_thresholds_are_rounded_down() -> None:
    exact = np.array([0.1, 1.0, -0.1, 1e-50, -1e-50, 1e300, -1e300, 16777217.0])
    rounded = forest.round_down(exact)
    limit = np.finfo(np.float32).max
    assert (rounded.astype(np.float64)[:5] <= exact[:5]).all()
    assert (np.nextafter(rounded[:5], np.float32(np.inf)).astype(np.float64) > exact[:5]).all()
    assert (rounded[1], rounded[5], rounded[7]) == (1.0, limit, 16777216.0)
    assert rounded[6] == -np.inf, "below every finite number"
