"""Files of a mounted claim as inputs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from tidemill.contract.sources import VolumeSource
from tidemill_worker.errors import AccessDenied, InvalidData, ObjectNotFound

from .input_cases import parquet, provenance, refused
from .lab import Lab
from .samples import prepare, rows, s3


@pytest.fixture
def mounted(lab: Lab, tmp_path: Path) -> Lab:
    """A lab with a folder `volumes`, and the claim `raw` mounted there."""
    (tmp_path / "volumes" / "raw").mkdir(parents=True)
    return lab.with_environment(volume_dir=tmp_path / "volumes")


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
