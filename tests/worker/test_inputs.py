"""Inputs of PrepareDataset: formats, web servers, volumes, and what can be wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pytest
import zstandard

from tidemill_worker.errors import InvalidData

from .input_cases import arrow, parquet, refused
from .lab import Lab
from .samples import CSV, JSONL, prepare, rows, s3


class TestFormats:
    @pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
    def test_feather_gives_what_parquet_gives(self, lab: Lab, compression: str, tmp_path: Path) -> None:
        table = pa.table(rows(2000))
        feather.write_feather(table, str(tmp_path / "a.feather"), compression=compression, chunksize=300)
        uri = lab.put("a.feather", (tmp_path / "a.feather").read_bytes())
        found = lab.run(prepare(lab, s3("a", uri, "arrow")))
        expected = lab.run(prepare(lab, s3("a", lab.put_table("a.parquet", table))))
        assert found.artifact.digest == expected.artifact.digest

    def test_streams_dictionaries_and_columns_that_only_some_files_have(self, lab: Lab) -> None:
        first = pa.table({"id": pa.array([1, 2], pa.int32()), "c": pa.array(["x", "y"]).dictionary_encode()})
        second = pa.table({"c": ["y", None], "id": pa.array([3.5, float("nan")]), "h": pa.array([1, 2], pa.float16())})
        lab.put("in/0.arrows", arrow(first, stream=True, chunk=1))
        lab.put("in/1.arrow", arrow(second))
        result = lab.run(
            prepare(lab, s3("a", f"{lab.root}/in/", "arrow"), split={"random": {"validation": 0, "test": 0}})
        )
        assert [(c.name, c.type) for c in result.columns] == [("id", "double"), ("c", "varchar"), ("h", "float")]
        found = lab.get_table(f"{result.artifact.uri}/train.parquet").to_pylist()
        assert found == [
            {"id": None, "c": None, "h": 2.0},
            {"id": 1.0, "c": "x", "h": None},
            {"id": 2.0, "c": "y", "h": None},
            {"id": 3.5, "c": "y", "h": 1.0},
        ]

    @pytest.mark.parametrize("packed", [lambda b: zstandard.ZstdCompressor().compress(b), gzip.compress])
    @pytest.mark.parametrize(("form", "text"), [("csv", CSV), ("jsonl", JSONL)])
    def test_compressed_texts(self, lab: Lab, form: str, text: str, packed: Any) -> None:
        ending = "gz" if packed is gzip.compress else "zst"
        uri = lab.put(f"in/a.{form}.{ending}", packed(text.encode()))
        result = lab.run(prepare(lab, s3("a", uri, form)))
        assert sum(result.rows.values()) == 50
        assert [(c.name, c.type) for c in result.columns] == [
            ("id", "bigint"),
            ("carrier", "varchar"),
            ("delay", "double"),
        ]

    def test_what_is_not_arrow_names_the_file(self, lab: Lab) -> None:
        whole = arrow(pa.table(rows(5000)), chunk=1000)
        lab.put("in/a.arrow", whole)
        for body in (b"", b"id,name\n1,a\n", whole[: len(whole) // 2], parquet(rows(10))):
            lab.put("in/b.arrow", body)
            error = refused(lab, InvalidData, prepare(lab, s3("a", f"{lab.root}/in/", "arrow")))
            assert error.reason == "DataCorrupt"
            assert f"{lab.root}/in/b.arrow cannot be read as arrow" in error.message
            assert error.field == "spec.inputs[0].s3.uri"

    def test_offsets_that_lead_out_of_a_batch_are_found(self, lab: Lab) -> None:
        """Arrow believes offsets; to follow them would read memory that is not the file's."""
        text = pa.StringArray.from_buffers(2, pa.array([0, 10**6, 5], pa.int32()).buffers()[1], pa.py_buffer(b"hello"))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, pa.schema([("t", pa.string())])) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays([text], ["t"]))
        uri = lab.put("in/a.arrow", sink.getvalue().to_pybytes())
        error = refused(lab, InvalidData, prepare(lab, s3("a", uri, "arrow")))
        assert f"{uri} cannot be read as arrow" in error.message

    def test_arrow_files_that_do_not_fit_together(self, lab: Lab) -> None:
        lab.put("in/a.arrow", arrow(pa.table({"x": [1]})))
        lab.put("in/b.arrow", arrow(pa.table({"x": [["one"]]})))
        error = refused(lab, InvalidData, prepare(lab, s3("a", f"{lab.root}/in/", "arrow")))
        assert "cannot be read together" in error.message

    def test_a_damaged_zst_names_the_file(self, lab: Lab) -> None:
        for body in (zstandard.ZstdCompressor().compress(CSV.encode())[:40], b"no zstd at all"):
            uri = lab.put("in/a.csv.zst", body)
            error = refused(lab, InvalidData, prepare(lab, s3("a", uri, "csv")))
            assert f"{uri} cannot be read as csv" in error.message
