"""Inputs of PrepareDataset: formats, web servers, volumes, and what can be wrong with them."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import zstandard
from pydantic import ValidationError

from tidemill.contract.sources import HttpSource, VolumeSource
from tidemill_worker.data import http
from tidemill_worker.errors import AccessDenied, InvalidData, ObjectNotFound, SourceUnavailable, TaskError

from .lab import Lab
from .samples import CSV, JSONL, prepare, rows, s3
from .web import Answer, Web, start_web


@pytest.fixture
def web() -> Iterator[Web]:
    with start_web() as running:
        yield running


@pytest.fixture
def mounted(lab: Lab, tmp_path: Path) -> Lab:
    """A lab with a folder `volumes`, and the claim `raw` mounted there."""
    (tmp_path / "volumes" / "raw").mkdir(parents=True)
    return lab.with_environment(volume_dir=tmp_path / "volumes")


def refused(lab: Lab, kind: type[TaskError], document: dict[str, Any]) -> TaskError:
    with pytest.raises(kind) as caught:
        lab.run(document)
    assert not [n for n in lab.list("datasets/") if n.endswith("manifest.json")], "nothing may be published"
    assert str(lab.work) not in caught.value.message, "a path of the pod says nothing to the user"
    return caught.value


def parquet(table: dict[str, Any] | pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), sink)
    return sink.getvalue().to_pybytes()


def arrow(table: pa.Table, *, stream: bool = False, chunk: int | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return sink.getvalue().to_pybytes()


def provenance(lab: Lab, result: Any) -> dict[str, str]:
    found: dict[str, str] = lab.get_json(f"{result.artifact.uri}/provenance.json")["inputs"]
    return found


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


def of_web(url: str, body: bytes, **more: Any) -> dict[str, Any]:
    return {"name": "a", "http": {"url": url, "sha256": hashlib.sha256(body).hexdigest(), **more}}


class TestHttp:
    body = parquet(rows(100))

    def test_a_file_with_the_right_hash(self, lab: Lab, web: Web) -> None:
        url = web.serve("/data/a.parquet", Answer(self.body))
        source = of_web(f"{url}?X-Signature=hidden", self.body)
        source["http"]["sha256"] = source["http"]["sha256"].upper()
        result = lab.run(prepare(lab, source))
        assert sum(result.rows.values()) == 100
        assert provenance(lab, result) == {url: f"sha256:{hashlib.sha256(self.body).hexdigest()}"}
        assert web.paths() == ["/data/a.parquet?X-Signature=hidden"]
        assert "authorization" not in web.asked[0][1]

    def test_a_packed_text_keeps_its_bytes(self, lab: Lab, web: Web) -> None:
        body = gzip.compress(CSV.encode(), mtime=0)
        url = web.serve("/a.csv.gz", Answer(body, headers={"Content-Encoding": "gzip"}))
        assert sum(lab.run(prepare(lab, of_web(url, body, format="csv"))).rows.values()) == 50

    def test_another_hash_is_refused(self, lab: Lab, web: Web) -> None:
        url = web.serve("/a.parquet", Answer(self.body))
        error = refused(lab, InvalidData, prepare(lab, of_web(url, b"something else")))
        assert error.exit_code == 65
        assert error.field == "spec.inputs[0].http.sha256"
        for digest in (hashlib.sha256(self.body), hashlib.sha256(b"something else")):
            assert digest.hexdigest() in error.message
        assert web.paths() == ["/a.parquet"], "another try would bring the same"
        assert not list((lab.environment.work_dir / "scratch" / "inputs").rglob("*.parquet"))

    def test_what_passes_is_tried_again(self, lab: Lab, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "WAITS", (0.01, 0.01, 0.01))
        cut = Answer(self.body[:50], announced=len(self.body))
        url = web.serve("/a.parquet", Answer(status=503), Answer(status=429), cut, Answer(self.body))
        assert sum(lab.run(prepare(lab, of_web(url, self.body))).rows.values()) == 100
        assert len(web.asked) == 4

    def test_what_does_not_pass_is_left_to_the_job(self, lab: Lab, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "WAITS", (0.01,))
        url = web.serve("/a.parquet", Answer(status=500))
        error = refused(lab, SourceUnavailable, prepare(lab, of_web(url, self.body)))
        assert error.exit_code == 1
        assert error.reason == "SourceUnavailable"
        assert len(web.asked) == 2
        nobody = refused(lab, SourceUnavailable, prepare(lab, of_web("http://127.0.0.1:9/a.parquet", self.body)))
        assert "does not answer" in nobody.message

    @pytest.mark.parametrize(
        ("answer", "kind", "words"),
        [
            (Answer(status=404), ObjectNotFound, "does not exist"),
            (Answer(status=403), AccessDenied, "refused access"),
            (Answer(status=400), InvalidData, "answered 400"),
            (Answer(status=304), InvalidData, "answered 304"),
            (Answer(status=302, headers={"Location": "/a.parquet"}), InvalidData, "redirects more than 10 times"),
            (Answer(status=302, headers={"Location": "ftp://elsewhere/a"}), InvalidData, "cannot be used"),
            (Answer(status=302, headers={"Location": "file:///etc/passwd"}), InvalidData, "cannot be used"),
        ],
    )
    def test_answers_that_no_retry_changes(
        self, lab: Lab, web: Web, answer: Answer, kind: type[TaskError], words: str
    ) -> None:
        url = web.serve("/a.parquet", answer)
        error = refused(lab, kind, prepare(lab, of_web(url, self.body)))
        assert error.message.startswith("input a: ")
        assert words in error.message
        assert error.field == "spec.inputs[0].http.url"

    def test_the_secret_goes_to_its_host_only(self, lab: Lab, web: Web) -> None:
        folder = lab.environment.secret_dir / "partner"
        folder.mkdir(parents=True)
        (folder / "authorization").write_text("Bearer t0ken\n")
        with start_web() as other:
            there = other.serve("/there.parquet", Answer(self.body))
            back = web.serve("/back", Answer(status=307, headers={"Location": "/again"}))
            web.serve("/again", Answer(status=302, headers={"Location": there}))
            assert sum(lab.run(prepare(lab, of_web(back, self.body, secretName="partner"))).rows.values()) == 100
            assert [headers.get("authorization") for _, headers in web.asked] == ["Bearer t0ken"] * 2
            assert [headers.get("authorization") for _, headers in other.asked] == [None]

    def test_a_secret_that_cannot_be_used(self, lab: Lab, web: Web) -> None:
        source = of_web(web.serve("/a.parquet", Answer(status=401)), self.body, secretName="partner")
        folder = lab.environment.secret_dir / "partner"
        folder.mkdir(parents=True)
        for text, words in (
            (None, "must hold authorization"),
            ("a\nX-Evil: b", "one line"),
            ("Bearer x", "refused access"),
        ):
            if text is not None:
                (folder / "authorization").write_text(text)
            error = refused(lab, AccessDenied, prepare(lab, source))
            assert error.exit_code == 67
            assert error.field == "spec.inputs[0].http.secretName"
            assert words in error.message
            assert text is None or text not in error.message
        assert len(web.asked) == 1

    @pytest.mark.parametrize(
        "url", ["https://me:secret@host/x", "ftp://host/x", "https://host", "file:///etc/passwd", "https://h/a b"]
    )
    def test_urls_that_are_none(self, url: str) -> None:
        with pytest.raises(ValidationError, match="url"):
            HttpSource(url=url, sha256="0" * 64)


def of_volume(path: str, **more: Any) -> dict[str, Any]:
    return {"name": "a", "volume": {"claimName": "raw", "path": path, **more}}


class TestVolume:
    def fill(self, lab: Lab) -> Path:
        """Three good files, and what no folder stands for."""
        root = lab.environment.volume_dir / "raw"
        table = pa.table(rows(3000))
        for number, name in enumerate(["day/b.parquet", "day/a.parquet", "day/deep/c.parquet"]):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(parquet(table.slice(number * 1000, 1000)))
        for hidden in ("day/_SUCCESS", "day/.tmp/x.parquet", "lost+found/z.parquet"):
            (root / hidden).parent.mkdir(exist_ok=True)
            (root / hidden).write_bytes(b"no parquet")
        return root

    def test_a_file_a_folder_a_glob(self, mounted: Lab) -> None:
        root = self.fill(mounted)
        whole = mounted.run(prepare(mounted, of_volume("day/")))
        for path, number in (
            ("day/a.parquet", 1000),
            ("day/*.parquet", 2000),
            ("**/b.parquet", 1000),
            ("*y/deep/*", 1000),
        ):
            assert sum(mounted.run(prepare(mounted, of_volume(path))).rows.values()) == number, path
        names = ["day/a.parquet", "day/b.parquet", "day/deep/c.parquet"]
        expected = {f"volume://raw/{n}": "sha256:" + hashlib.sha256((root / n).read_bytes()).hexdigest() for n in names}
        assert provenance(mounted, whole) == expected
        stored = mounted.run(prepare(mounted, s3("a", mounted.put_table("a.parquet", rows(3000)))))
        assert whole.artifact.digest == stored.artifact.digest

    def test_links_within_the_volume_are_followed(self, mounted: Lab) -> None:
        root = self.fill(mounted)
        (root / "current").symlink_to("day")
        (root / "one.parquet").symlink_to(root / "day/a.parquet")
        assert sum(mounted.run(prepare(mounted, of_volume("current/"))).rows.values()) == 3000
        assert sum(mounted.run(prepare(mounted, of_volume("one.parquet"))).rows.values()) == 1000

    def test_links_out_of_the_volume_are_refused(self, mounted: Lab, tmp_path: Path) -> None:
        root = self.fill(mounted)
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "x.parquet").write_bytes(parquet(rows(10)))
        (root / "file.parquet").symlink_to(outside / "x.parquet")
        (root / "folder").symlink_to(outside)
        (root / "up").symlink_to("../..")
        (root / "passwd").symlink_to("/etc/passwd")
        for path in ("file.parquet", "folder/x.parquet", "folder/", "f*/x.parquet", "up/outside/x.parquet", "passwd"):
            error = refused(mounted, InvalidData, prepare(mounted, of_volume(path)))
            assert "leads out of the volume" in error.message, path
            assert error.field == "spec.inputs[0].volume.path"

    def test_what_is_no_file(self, mounted: Lab) -> None:
        root = self.fill(mounted)
        os.mkfifo(root / "pipe")
        (root / "day" / "loop").symlink_to("..")
        (root / "broken").symlink_to("nowhere")
        for path, kind, words in (
            ("day", InvalidData, "is a folder: end the path in /"),
            ("pipe", InvalidData, "no regular file"),
            ("day/", InvalidData, "a folder that it lies in"),
            ("broken", ObjectNotFound, "cannot be opened"),
            ("nowhere.parquet", ObjectNotFound, "there is no file at volume://raw/nowhere.parquet"),
            ("nowhere/", ObjectNotFound, "there is no file"),
            ("*.csv", ObjectNotFound, "there is no file"),
        ):
            error = refused(mounted, kind, prepare(mounted, of_volume(path)))
            assert words in error.message, path

    def test_a_file_that_may_not_be_read(self, mounted: Lab) -> None:
        root = self.fill(mounted)
        (root / "day/a.parquet").chmod(0)
        user = os.geteuid()
        if not user:
            os.chmod(mounted.environment.work_dir, 0o777)
            for parent in root.parents:
                if parent.stat().st_uid == 0 and not parent.stat().st_mode & 1:
                    parent.chmod(parent.stat().st_mode | 0o111)
            os.seteuid(65534)
        try:
            with pytest.raises(AccessDenied) as caught:
                mounted.run(prepare(mounted, of_volume("day/a.parquet")))
        finally:
            os.seteuid(user)
        assert "may not be read by user" in caught.value.message
        assert caught.value.field == "spec.inputs[0].volume.path"

    def test_a_claim_that_is_not_mounted(self, lab: Lab) -> None:
        error = refused(lab, ObjectNotFound, prepare(lab, of_volume("a.parquet")))
        assert "claim raw is not mounted" in error.message

    @pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a/..", "./a", ".", "", ".."])
    def test_paths_that_lead_elsewhere(self, path: str) -> None:
        with pytest.raises(ValidationError, match="path"):
            VolumeSource(claim_name="raw", path=path)

    def test_a_path_may_have_dots_in_its_names(self) -> None:
        assert VolumeSource(claim_name="raw", path="..a/b../c.d").path == "..a/b../c.d"
