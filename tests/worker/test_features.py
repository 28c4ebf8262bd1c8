"""The feature plan: numpy and the graph agree, nothing leaks, and degenerate columns fit."""

from __future__ import annotations

import re
import sys
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler
from sklearn.utils import murmurhash3_32

from tidemill.contract.features import EmbedText
from tidemill_worker.train.features import TargetValues, tokens
from tidemill_worker.train.features.target_encode import folds
from tidemill_worker.train.graph import Graph

from .feature_cases import ALL, CASES, CITIES, build, table, unseen

PARITY = 1e-5


@pytest.fixture(scope="module")
def training() -> pa.Table:
    return table()


@pytest.fixture(scope="module")
def serving() -> pa.Table:
    return unseen()


@pytest.mark.parametrize("spec", [*CASES.values(), ALL], ids=[*CASES, "all"])
def test_the_graph_gives_what_numpy_gives(
    spec: list[dict[str, Any]], training: pa.Table, serving: pa.Table, tmp_path: Path
) -> None:
    built = build(spec, training, tmp_path)
    assert built.parity(training) < PARITY
    assert built.parity(serving) < PARITY
    assert built.training.shape == (training.num_rows, built.plan.width)
    assert built.plan.encode(training.slice(0, 0)).shape == (0, built.plan.width)
    assert len(set(built.plan.names)) == built.plan.width
    assert all(node.name.startswith("pre/") for node in built.proto.graph.node if node.name != "features")


def test_equal_rows_give_equal_bytes(training: pa.Table, tmp_path: Path) -> None:
    rows = training.slice(0, 2000)
    first, second = (build(ALL, rows, tmp_path).proto.SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def small(**columns: Any) -> pa.Table:
    return pa.table({**columns, "target": np.arange(float(len(next(iter(columns.values())))))})


def one(
    rows: pa.Table, name: str, transform: dict[str, Any], folder: Path, *more: dict[str, Any]
) -> dict[str, list[float]]:
    """Features of one transform of one column, by their names; numpy and the graph agree on them."""
    built = build([*more, {"columns": [name], **transform}], rows, folder)
    assert built.parity(rows) < PARITY
    return {n: built.plan.encode(rows)[:, i].tolist() for i, n in enumerate(built.plan.names)}


def test_scales_are_those_of_scikit_learn(training: pa.Table, tmp_path: Path) -> None:
    values = np.nan_to_num(training["delay"].to_numpy(), nan=1).astype(np.float32)
    rows = small(x=values)
    for method, peer in (("Standard", StandardScaler()), ("MinMax", MinMaxScaler()), ("Robust", RobustScaler())):
        wanted = peer.fit_transform(values.reshape(-1, 1).astype(np.float64))[:, 0]
        np.testing.assert_allclose(one(rows, "x", {"scale": {"method": method}}, tmp_path)["x"], wanted, atol=1e-4)
    distinct = np.unique(values)
    wanted = QuantileTransformer(n_quantiles=101, subsample=None).fit_transform(
        distinct.reshape(-1, 1).astype(np.float64)
    )
    shares = one(small(x=distinct), "x", {"scale": {"method": "Quantile"}}, tmp_path)["x"]
    np.testing.assert_allclose(shares, wanted[:, 0], atol=1e-5)


def test_missing_numbers(tmp_path: Path) -> None:
    rows = small(x=[1.0, None, 5.0, float("inf"), 3.0, 3.0])
    plain = one(rows, "x", {"scale": {"method": "None"}}, tmp_path)
    assert plain == {"x": [1, 3, 5, 3, 3, 3], "x:missing": [0, 1, 0, 1, 0, 0]}
    filled = one(rows, "x", {"scale": {"method": "None"}}, tmp_path, {"columns": ["x"], "impute": {"strategy": "Mean"}})
    assert filled == {"x": [1, 3, 5, 3, 3, 3]}
    constant = {"columns": ["x"], "impute": {"strategy": "Constant", "value": -7, "indicator": True}}
    assert one(rows, "x", {"scale": {"method": "None"}}, tmp_path, constant)["x"] == [1, -7, 5, -7, 3, 3]
    whole = small(x=[1.0, 2.0])
    assert one(whole, "x", {"impute": {"indicator": True}}, tmp_path) == {"x": [-1, 1], "x:missing": [0, 0]}


def test_buckets(tmp_path: Path) -> None:
    rows = small(x=[-5.0, 0.0, 0.5, 1.0, 99.0])
    hot = one(rows, "x", {"bucketize": {"edges": [0, 1]}}, tmp_path)
    assert hot == {"x=[-inf,0)": [1, 0, 0, 0, 0], "x=[0,1)": [0, 1, 1, 0, 0], "x=[1,inf)": [0, 0, 0, 1, 1]}
    places = one(rows, "x", {"bucketize": {"edges": [0, 1], "output": "Ordinal"}}, tmp_path)
    assert places == {"x:bucket": [0, 0.5, 0.5, 1, 1]}
    repeated = one(small(x=[0.0] * 8 + [1.0, 2.0]), "x", {"bucketize": {"quantiles": 10}}, tmp_path)
    assert [sum(values) for values in repeated.values()] == [8, 1, 1], "no bucket is empty in training"


def test_categories(tmp_path: Path) -> None:
    rows = small(c=["b", "a", None, "b", "c", ""])
    assert one(rows, "c", {"oneHot": {"maxCategories": 2}}, tmp_path) == {
        "c=b": [1, 0, 0, 1, 0, 0],
        "c=a": [0, 1, 0, 0, 0, 0],
    }
    other = one(rows, "c", {"oneHot": {"minFrequency": 2, "unknown": "Other"}}, tmp_path)
    assert other == {"c:other": [0, 1, 0, 0, 1, 0], "c=b": [1, 0, 0, 1, 0, 0]}
    impute = {"columns": ["c"], "impute": {"strategy": "Constant", "text": "none", "indicator": True}}
    filled = one(rows, "c", {"oneHot": {}}, tmp_path, impute)
    assert filled["c=none"] == filled["c:missing"] == [0, 0, 1, 0, 0, 1]
    assert one(rows, "c", {"ordinal": {}}, tmp_path) == {"c:ordinal": [0.5, 0, -1, 0.5, 1, -1]}
    given_order = one(rows, "c", {"ordinal": {"categories": ["c", "b"], "unknown": 9}}, tmp_path)
    assert given_order == {"c:ordinal": [1, 9, 9, 1, 0, 9]}
    numbers = small(c=[10, 9, None, 10])
    assert one(numbers, "c", {"ordinal": {}}, tmp_path) == {"c:ordinal": [1, 0, -1, 1]}
    assert one(numbers, "c", {"oneHot": {}}, tmp_path) == {"c=10": [1, 0, 0, 1], "c=9": [0, 1, 0, 0]}


def test_hashes_are_those_of_scikit_learn(tmp_path: Path) -> None:
    texts = [*CITIES, "", "a" * 10_000, "\0", "x\0", "👩‍👩‍👧"]
    found = one(small(c=texts), "c", {"hash": {"buckets": 1021}}, tmp_path)
    for row, text in enumerate(texts):
        own = [b for b in range(1021) if found[f"c:hash{b}"][row]]
        assert own == ([murmurhash3_32(text.encode(), 0, positive=True) % 1021] if text else [])


@pytest.mark.parametrize("classes", [None, ("no", "yes"), ("a", "b", "c")], ids=["regression", "two", "three"])
def test_training_rows_are_encoded_by_the_other_folds(classes: tuple[str, ...] | None, tmp_path: Path) -> None:
    """Row by row, from the definition."""
    rng = np.random.default_rng(3)
    number, smoothing = 300, 2.5
    encoded = rng.normal(size=(number, 1)) if classes is None else rng.integers(0, len(classes), number)
    target = TargetValues.of(encoded, "late", classes)
    city = [str(c) if c else None for c in rng.integers(0, 12, number)]
    spec = [{"columns": ["city"], "targetEncode": {"smoothing": smoothing, "folds": 4, "maxCategories": 8}}]
    rows = pa.table({"city": city, "target": np.zeros(number)})
    built = build(spec, rows, tmp_path, target=target)
    kept = sorted({c for c in city if c}, key=lambda c: (-city.count(c), c))[:8]
    fold = folds(number, 4)
    assert min(np.bincount(fold)) > number / 8

    def mean(row: int, others: list[int]) -> np.ndarray:
        same = [j for j in others if city[j] == city[row]] if city[row] in (None, *kept) else []
        overall = target.values[others].mean(axis=0)
        return np.asarray((target.values[same].sum(axis=0) + smoothing * overall) / (len(same) + smoothing))

    outside = [mean(i, [j for j in range(number) if fold[j] != fold[i]]) for i in range(number)]
    np.testing.assert_allclose(built.training, outside, atol=1e-6)
    everything = [mean(i, list(range(number))) for i in range(number)]
    np.testing.assert_allclose(built.plan.encode(rows), everything, atol=1e-6)
    assert np.abs(built.training - built.plan.encode(rows)).max() > 0.01
    assert built.parity(rows) < PARITY
    assert built.plan.names == {
        None: ("city:late",), 2: ("city:late=yes",), 3: ("city:late=a", "city:late=b", "city:late=c"),
    }[None if classes is None else len(classes)]  # fmt: skip


def test_a_category_of_one_row_does_not_tell_its_target(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=1000)
    rows = pa.table({"id": [f"id{i}" for i in range(1000)], "target": noise})
    built = build([{"columns": ["id"], "targetEncode": {"smoothing": 0, "maxCategories": 1000}}], rows, tmp_path)
    assert abs(np.corrcoef(built.training[:, 0], noise)[0, 1]) < 0.2
    assert np.corrcoef(built.plan.encode(rows)[:, 0], noise)[0, 1] > 0.99, "of all rows it would"


def test_word_weights_are_those_of_scikit_learn(training: pa.Table, tmp_path: Path) -> None:
    texts = [t or "" for t in training["remark"].to_pylist()[:2000]]
    pattern = "[" + "".join(c for c in map(chr, range(1, 0x3000)) if unicodedata.category(c)[0] in "LMN") + "东京北]+"
    peer = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, tokenizer=lambda t: [w.lower() for w in re.findall(pattern, t)],
        token_pattern=None, lowercase=False,
    )  # fmt: skip
    wanted = peer.fit_transform(texts)
    found = one(small(r=texts), "r", {"embedText": {"maxNgram": 2, "maxTerms": 4096}}, tmp_path)
    assert set(found) == {f"r:{term!r}" for term in peer.get_feature_names_out()}
    for place, term in enumerate(peer.get_feature_names_out()):
        np.testing.assert_allclose(found[f"r:{term!r}"], wanted[:, place].toarray()[:, 0], atol=1e-5)
    reduced = one(small(r=texts), "r", {"embedText": {"maxNgram": 2, "maxTerms": 4096, "dimensions": 5}}, tmp_path)
    exact = TruncatedSVD(5, algorithm="arpack", random_state=0).fit_transform(wanted)
    for place in range(5):
        ours, theirs = np.array(reduced[f"r:svd{place}"]), exact[:, place]
        np.testing.assert_allclose(ours, theirs * np.sign(ours @ theirs), atol=1e-4)


def test_words_are_those_of_onnx_runtime_for_every_character() -> None:
    known = [chr(c) for c in range(1, sys.maxunicode + 1) if unicodedata.category(chr(c)) not in ("Cs", "Cn")]
    graph = Graph()
    tokens.emit(graph, "text", "pre/0", EmbedText(), {"": 0})
    graph.add("Identity", ["pre/0/units"], "units")
    text, units = (helper.make_tensor_value_info(n, TensorProto.STRING, [None, None]) for n in ("text", "units"))
    session = ort.InferenceSession(graph.model([text], [units]).SerializeToString())
    found = session.run(None, {"text": np.array(known, object).reshape(-1, 1)})[0]
    assert found.shape == (len(known), 1)
    wanted = ["".join(tokens.units(c, EmbedText())) for c in known]
    assert [c for c, f, w in zip(known, found[:, 0], wanted, strict=True) if f != w] == []
    assert sum(w != "" for w in wanted) > 130_000


def test_case(tmp_path: Path) -> None:
    """Spellings that training does not have: lower case, Title and capitals are known, tAnGlEd ones are not."""
    seen = small(r=["late Öl iPhone οδός", "late öl iPhone ΟΔΌΣ"])
    served = small(r=["Late ÖL iPhone οδός", "LATE Öl IPHONE ΟΔΌΣ", "late öl iphone Οδός", "lAtE öL iPHone", "", ""])
    built = build([{"columns": ["r"], "embedText": {}}], seen, tmp_path)
    assert built.plan.names == ("r:'iphone'", "r:'late'", "r:'öl'", "r:'οδός'")
    assert (built.plan.encode(served)[:3] > 0).all()
    assert not built.plan.encode(served)[3:].any()
    assert built.parity(served) < PARITY
    cased = build([{"columns": ["r"], "embedText": {"lowercase": False}}], seen, tmp_path)
    assert cased.plan.names == ("r:'iPhone'", "r:'late'")
    assert cased.plan.encode(served)[:, 1].tolist() == [0, 0, 1, 0, 0, 0]
    assert cased.parity(served) < PARITY


NUMBERS = st.lists(
    st.none() | st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, 3e38, -3e38, 1e-45, float("nan"), float("inf")]),
    min_size=1, max_size=12,
)  # fmt: skip
KNOWN = st.characters(exclude_categories=["Cs", "Cn"])
TEXTS = st.lists(
    st.none() | st.text(KNOWN, max_size=12) | st.sampled_from(["a", "a b", "A  b", ""]), min_size=1, max_size=12
)
NUMERIC = [name for name, spec in CASES.items() if spec[0]["columns"][0] in ("spread", "delay")]


def parity(spec: list[dict[str, Any]], kind: pa.DataType, seen: list[Any], served: list[Any]) -> None:
    """Fits on one list, answers for both as the graph does; an overflow overflows in both."""
    named = [{**entry, "columns": ["x"]} for entry in spec]
    rows, other = (pa.table({"x": pa.array(v, kind), "target": np.arange(len(v)) * 1.0}) for v in (seen, served))
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
        built = build(named, rows, Path(folder))
        assert built.training.shape == (len(seen), built.plan.width) == (len(seen), len(built.plan.names))
        for part in (rows, other):
            wanted, found = built.plan.encode(part), built.predictor.run(part)["features"]
            size = np.maximum(np.nan_to_num(np.abs(wanted), posinf=1).max(initial=1), 1)
            np.testing.assert_allclose(found / size, wanted / size, atol=PARITY, rtol=PARITY)


@pytest.mark.parametrize("name", [*NUMERIC, "one-hot", "one-hot-other", "ordinal", "target-encode"])
@settings(max_examples=25, deadline=None)
@given(seen=NUMBERS, served=NUMBERS)
def test_any_numbers(name: str, seen: list[float | None], served: list[float | None]) -> None:
    parity(CASES[name], pa.float64(), seen, served)


@pytest.mark.parametrize(
    "name",
    ["one-hot", "one-hot-other", "ordinal", "hash", "hash-filled", "target-encode", "embed-words", "embed-characters"],
)
@settings(max_examples=25, deadline=None)
@given(seen=TEXTS, served=TEXTS)
def test_any_texts(name: str, seen: list[str | None], served: list[str | None]) -> None:
    parity(CASES[name], pa.string(), seen, served)


DEGENERATE: dict[str, list[Any]] = {
    "constant": [4] * 9,
    "missing": [None] * 9,
    "one row": [4],
    "one missing row": [None],
}


@pytest.mark.parametrize("values", DEGENERATE.values(), ids=DEGENERATE)
@pytest.mark.parametrize("name", CASES)
def test_degenerate_columns(name: str, values: list[Any]) -> None:
    numeric = name in NUMERIC or name.startswith(("one-hot", "ordinal", "target-encode"))
    kind = pa.float64() if numeric else pa.string()
    seen = [v if numeric or v is None else str(v) for v in values]
    parity(CASES[name], kind, seen, [None, *([4.0, 5.0, float("inf")] if numeric else ["4", "five", ""])])
