"""A table with everything that real columns bring, and one way to use each transform on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
from pydantic import TypeAdapter

from tidemill.contract.features import ColumnTransform, Preprocessing
from tidemill.contract.model import Signature, TensorSpec
from tidemill_worker.model import tables
from tidemill_worker.model.predictor import Predictor
from tidemill_worker.train import graph
from tidemill_worker.train.features import FeaturePlan, TargetValues, resolve
from tidemill_worker.train.graph import Graph

FIELD = "spec.trainer.tabularRegression"
SPEC: TypeAdapter[tuple[ColumnTransform, ...]] = TypeAdapter(Preprocessing)
WORDS = (
    "late",
    "Late",
    "on",
    "time",
    "délai",
    "Straße",
    "ΟΔΟΣ",
    "ὈΔΥΣΣΕΎΣ",
    "İstanbul",
    "东京",
    "दिल्ली",
    "e\u0301t",
    "x_y",
    "7",
    "٣٤",
)
CITIES = ("Oslo", "Åre", "São Paulo", "北京", "🛫", "a b", " ", "quote'd", "nul\0", "İzmir")


def table(rows: int = 10_000, seed: int = 0) -> pa.Table:
    """Numbers of many sizes, whole numbers, flags, categories and free text, with gaps everywhere."""
    rng = np.random.default_rng(seed)
    spread = rng.normal(size=rows) * 10.0 ** rng.integers(-3, 6, rows)
    spread[rng.random(rows) < 0.05] = np.nan
    for place, value in enumerate((np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-40)):
        spread[place::997] = value
    city = np.array(CITIES, dtype=object)[np.minimum(rng.geometric(0.3, rows) - 1, len(CITIES) - 1)]
    words, lengths = rng.integers(0, len(WORDS), (rows, 8)), rng.integers(0, 9, rows)
    text = [" ".join(WORDS[w] for w in words[i, : lengths[i]]) + ("!" if i % 3 else "") for i in range(rows)]
    delay = rng.normal(5, 20, rows)
    return pa.table(
        {
            "spread": spread,
            "delay": pa.array(delay, mask=rng.random(rows) < 0.1),
            "zeros": np.where(rng.random(rows) < 0.6, 0.0, rng.exponential(100, rows)),
            "month": pa.array(rng.integers(1, 13, rows), pa.int16(), mask=rng.random(rows) < 0.02),
            "night": pa.array(rng.random(rows) < 0.3),
            "city": pa.array(city.tolist(), mask=rng.random(rows) < 0.05),
            "tail": [f"N{i}" for i in rng.zipf(1.3, rows) % 5000],
            "remark": pa.array(text, mask=rng.random(rows) < 0.1).dictionary_encode(),
            "target": np.nan_to_num(delay) + rng.normal(size=rows),
        }
    )


def unseen(rows: int = 10_000) -> pa.Table:
    """Like the training table but of another seed, with categories and characters that it does not have."""
    other = table(rows, seed=1)
    city = ["Ürümqi" if i % 11 == 0 else v for i, v in enumerate(other["city"].to_pylist())]
    month = [99 if i % 13 == 0 else v for i, v in enumerate(other["month"].to_pylist())]
    remark = [f"{v} never-seen ΣΑΣ ς ß" if i % 7 == 0 else v for i, v in enumerate(other["remark"].to_pylist())]
    tail = [chr(0x1F600 + i % 50) if i % 5 == 0 else v for i, v in enumerate(other["tail"].to_pylist())]
    for name, values in (("city", city), ("month", month), ("remark", remark), ("tail", tail)):
        other = other.set_column(other.schema.get_field_index(name), name, pa.array(values))
    return other


NUMBERS = ["spread", "delay", "zeros", "month", "night"]
CASES: dict[str, list[dict[str, Any]]] = {
    **{
        f"scale-{method}": [{"columns": NUMBERS, "scale": {"method": method}}]
        for method in ("Standard", "MinMax", "Robust", "Quantile", "Log1p", "None")
    },
    "impute-mean": [{"columns": NUMBERS, "impute": {"strategy": "Mean", "indicator": True}}],
    "impute-constant": [
        {"columns": ["delay"], "impute": {"strategy": "Constant", "value": -999.25}},
        {"columns": ["delay"], "scale": {"method": "MinMax"}},
    ],
    "bucketize-edges": [{"columns": ["delay", "zeros"], "bucketize": {"edges": [-10, 0, 0.5, 100]}}],
    "bucketize-quantiles": [{"columns": NUMBERS, "bucketize": {"quantiles": 10}}],
    "bucketize-ordinal": [{"columns": NUMBERS, "bucketize": {"quantiles": 7, "output": "Ordinal"}}],
    "one-hot": [{"columns": ["city", "month", "night"], "oneHot": {"maxCategories": 5}}],
    "one-hot-other": [
        {"columns": ["city", "month"], "impute": {"strategy": "MostFrequent", "indicator": True}},
        {"columns": ["city", "month", "tail"], "oneHot": {"minFrequency": 50, "unknown": "Other"}},
    ],
    "ordinal": [{"columns": ["city", "month", "tail"], "ordinal": {}}],
    "ordinal-given": [{"columns": ["month"], "ordinal": {"categories": ["12", "1", "2.0"], "unknown": 0.5}}],
    "hash": [{"columns": ["city", "tail"], "hash": {"buckets": 37}}],
    "hash-filled": [
        {"columns": ["city"], "impute": {"strategy": "Constant", "text": "Åre", "indicator": True}},
        {"columns": ["city"], "hash": {"buckets": 16}},
    ],
    "target-encode": [{"columns": ["city", "tail", "month"], "targetEncode": {"smoothing": 4}}],
    "embed-words": [{"columns": ["remark"], "embedText": {"maxNgram": 2, "maxTerms": 200}}],
    "embed-cased-svd": [{"columns": ["remark"], "embedText": {"lowercase": False, "dimensions": 12}}],
    "embed-characters": [
        {
            "columns": ["remark", "city"],
            "embedText": {"unit": "Character", "maxNgram": 3, "maxTerms": 300, "dimensions": 8},
        }
    ],
}
ALL: list[dict[str, Any]] = [
    {"columns": ["delay"], "impute": {"strategy": "Median", "indicator": True}},
    {"columns": ["delay", "zeros"], "scale": {"method": "Quantile"}},
    {"columns": ["spread"], "scale": {"method": "Log1p"}},
    {"columns": ["month"], "oneHot": {}},
    {"columns": ["night"], "bucketize": {"edges": [0.5]}},
    {"columns": ["city"], "targetEncode": {}},
    {"columns": ["tail"], "hash": {"buckets": 32}},
    {"columns": ["remark"], "embedText": {"dimensions": 6}},
]


@dataclass(frozen=True)
class Built:
    """A plan beside its graph."""

    plan: FeaturePlan
    training: np.ndarray
    proto: onnx.ModelProto
    predictor: Predictor

    def parity(self, rows: pa.Table) -> float:
        """The greatest difference between numpy and the graph, in units of each feature's size (or 1)."""
        wanted, found = self.plan.encode(rows), self.predictor.run(rows)["features"]
        assert wanted.dtype == found.dtype == np.float32
        assert wanted.shape == found.shape == (rows.num_rows, self.plan.width)
        assert np.isfinite(wanted).all()
        size = np.maximum(np.abs(wanted).max(axis=0, initial=1), 1)
        return float(np.max(np.abs(wanted - found) / size, initial=0))


def build(spec: list[dict[str, Any]], rows: pa.Table, folder: Path, *, target: TargetValues | None = None) -> Built:
    """Fit on the rows; a graph whose only output is the features."""
    kinds = {n: tables.kind(rows.schema.field(n).type) for n in rows.column_names if n != "target"}
    entries = resolve(SPEC.validate_python(spec), kinds, "target", FIELD)
    if target is None:
        target = TargetValues.of(np.asarray(rows["target"].to_numpy()), "target", None)
    plan, training = FeaturePlan.fit(entries, rows, target)
    nodes = Graph()
    nodes.add("Identity", [nodes.concat(plan.emit(nodes), "pre/encoded")], "features")
    read = list(dict.fromkeys(source.name for entry in entries for source in entry.sources))
    types = {
        n: ("BYTES", onnx.TensorProto.STRING) if kinds[n] == "text" else ("FP32", onnx.TensorProto.FLOAT) for n in read
    }
    proto = nodes.model([graph.column(n, types[n][1]) for n in read], [graph.column("features", width=plan.width)])
    graph.save(proto, folder / "model.onnx")
    signature = Signature(
        task="Other",
        inputs=tuple(TensorSpec(name=n, datatype=types[n][0], shape=(-1, 1), column=n) for n in read),  # type: ignore[arg-type]
        outputs=(TensorSpec(name="features", datatype="FP32", shape=(-1, plan.width)),),
    )
    return Built(plan, training, proto, Predictor(folder / "model.onnx", signature))
