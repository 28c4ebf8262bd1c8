"""Files of the web as inputs: pinned by hash, tried again, with headers that stay with their server."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from tidemill.contract.sources import HttpSource
from tidemill_worker.data import http
from tidemill_worker.errors import AccessDenied, InvalidData, ObjectNotFound, SourceUnavailable, TaskError

from .input_cases import parquet, provenance, refused
from .lab import Lab
from .samples import CSV, prepare, rows
from .web import Answer, Web, start_web


@pytest.fixture
def web() -> Iterator[Web]:
    with start_web() as running:
        yield running


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
        assert "hidden" not in lab.get(f"{result.artifact.uri}/provenance.json").decode(), (
            "nor does the task there tell it"
        )
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
