"""The process around a task: where it reads from, what it leaves, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tidemill.contract.exitcodes import ExitCode
from tidemill.contract.manifest import MANIFEST
from tidemill.contract.results import RESULT, DatasetResult, Progress, TaskFailure
from tidemill.contract.tasks import TASK, ArtifactRef
from tidemill_worker.artifact import publish
from tidemill_worker.errors import ArtifactCorrupt, TaskError
from tidemill_worker.progress import Tracker, serve

from .lab import OWNER, Lab, progress_of
from .samples import dataset, train

ROOT = Path(__file__).resolve().parents[2]


def test_the_task_comes_from_the_mounted_annotation(lab: Lab) -> None:
    uri = lab.put_table("a.parquet", {"x": [1, 2, 3]})
    document = {
        "owner": OWNER,
        "type": "PrepareDataset",
        "root": f"{lab.root}/d",
        "inputs": [{"name": "a", "s3": {"uri": uri}}],
        "split": {"random": {"test": 0, "validation": 0}},
    }
    planted = lab.work / "pod/home/.aws/config"  # what another container of the pod could leave
    planted.parent.mkdir(parents=True)
    planted.write_text("[default]\ncredential_process = touch planted\n")
    mounted = lab.work / "task"
    mounted.write_text(json.dumps(document))
    command, variables, log = lab.command({"type": "unused"})
    done = subprocess.run(
        command[:-1], env={**variables, "TIDEMILL_TASK": str(mounted)}, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    result = RESULT.validate_json(log.read_bytes())
    assert isinstance(result, DatasetResult)
    assert done.stdout.decode().strip() == log.read_text()
    for line in done.stderr.splitlines():
        assert {"time", "level", "message"} <= set(json.loads(line)), "every line is one JSON object"
    written = {p.name for p in (lab.work / "pod").iterdir()}
    assert written <= {"home", "tmp", "scratch"}
    assert not planted.exists()


def test_no_module_comes_from_the_working_directory(lab: Lab) -> None:
    """Whatever another container leaves in a folder of the pod, the interpreter of our images does not import it."""
    planted = lab.work / "planted"
    (planted / "tidemill_worker").mkdir(parents=True)
    (planted / "tidemill_worker/__init__.py").write_text("raise SystemExit(99)\n")
    image = {}
    for line in (ROOT / "images/base/Dockerfile").read_text().splitlines():
        if line.startswith("ENV "):
            image |= dict(word.split("=", 1) for word in line.split()[1:])
    assert {f'"{name}": "{value}",' for name, value in image.items()} <= {
        line.strip() for line in (ROOT / "hack/imagebuild/recipes.py").read_text().splitlines()
    }
    command, variables, _ = lab.command({"type": "NoSuchTask"})
    found = {}
    for name, more in (("without", {}), ("with", image)):
        environment = {**variables, **more, "PYTHONPATH": _without_cwd(variables["PYTHONPATH"])}
        found[name] = subprocess.run(
            command, env=environment, cwd=planted, capture_output=True, timeout=60, check=False
        ).returncode
    assert found == {"without": 99, "with": ExitCode.INVALID_SPEC}


def _without_cwd(path: str) -> str:
    return os.pathsep.join(part for part in path.split(os.pathsep) if part)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"type": "NoSuchTask"}, "NoSuchTask"),
        ({"type": "VerifyModel", "artifact": {"uri": "s3://b/x", "digest": "sha256:short"}}, "artifact.digest"),
        ({"type": "PrepareDataset", "root": "s3://b/x", "inputs": []}, "split"),
    ],
)
def test_a_wrong_document_is_not_tried_again(lab: Lab, document: dict[str, object], words: str) -> None:
    code, result, log = lab.process(document)
    assert code == 64, log
    assert isinstance(result, TaskFailure)
    assert result.reason == "InvalidTask"
    assert words in result.message


def test_an_unexpected_error_is_logged_in_full_and_tried_again(lab: Lab) -> None:
    data = dataset(lab, 100)
    code, result, log = lab.process(train(lab, data), TIDEMILL_WORK_DIR="/proc")  # where no folder can be made
    assert code == 1
    assert isinstance(result, TaskFailure)
    assert result.reason == "InternalError"
    failed = [json.loads(line) for line in log.splitlines() if '"error"' in line]
    assert "Traceback" in failed[-1]["traceback"]


def test_progress_and_metrics_are_served() -> None:
    tracker = Tracker()
    server = serve(tracker, 0)
    assert server is not None
    try:
        port = server.server_address[1]
        tracker.epoch(epoch=2, epochs=4, loss=0.5, validation_loss=0.25, fraction=0.45)
        progress = Progress.model_validate(progress_of(port))
        assert (progress.phase, progress.epoch, progress.epochs, progress.loss) == ("Training", 2, 4, 0.5)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
        assert families["tidemill_training_loss"].samples[0].value == 0.5
        assert serve(tracker, port) is None, "a taken port does not stop the task"
    finally:
        server.shutdown()
        server.server_close()


def test_a_caller_that_hangs_up_leaves_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    server = serve(Tracker(), 0)
    assert server is not None
    try:
        for error, traced in ((BrokenPipeError("gone"), False), (ValueError("a fault of ours"), True)):
            try:
                raise error
            except (OSError, ValueError):
                server.handle_error(None, ("127.0.0.1", 1))  # type: ignore[arg-type]
            assert ("Traceback" in capsys.readouterr().err) is traced
    finally:
        server.shutdown()
        server.server_close()


def test_a_running_training_tells_its_epoch(lab: Lab) -> None:
    document = train(lab, dataset(lab, 500), trainer={"epochs": 100_000})
    command, variables, _ = lab.command(document)
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 90
        seen: set[int] = set()
        while len(seen) < 2 and time.monotonic() < deadline:
            assert process.poll() is None
            try:
                seen.add(progress_of(int(variables["TIDEMILL_PROGRESS_PORT"])).get("epoch") or 0)
            except OSError:
                time.sleep(0.05)
            seen.discard(0)
        assert len(seen) >= 2
    finally:
        process.kill()
        process.wait()


def _folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "a.json").write_text(text)
    return path


def test_one_of_many_writers_wins_and_all_agree(lab: Lab, tmp_path: Path) -> None:
    parsed = TASK.validate_python(
        {"owner": OWNER, "type": "VerifyModel", "artifact": {"uri": "s3://b/x", "digest": "sha256:" + "0" * 64}}
    )
    folder = _folder(tmp_path / "same", "{}")
    barrier = threading.Barrier(8)

    def write(_: int) -> ArtifactRef:
        context = lab.context()
        barrier.wait(10)
        return publish(context, parsed, kind="report", folder=folder, uri=f"{lab.root}/place")

    with ThreadPoolExecutor(8) as pool:
        refs = set(pool.map(lambda n: write(n).model_dump_json(), range(8)))
    assert len(refs) == 1
    assert lab.get_json(f"{lab.root}/place/{MANIFEST}")["kind"] == "report"
    other = _folder(tmp_path / "other", "[]")
    with pytest.raises(ArtifactCorrupt, match="already holds another artifact"):
        publish(lab.context(), parsed, kind="report", folder=other, uri=f"{lab.root}/place")
    assert lab.get(f"{lab.root}/place/a.json") == b"{}"


def test_globs(lab: Lab) -> None:
    for name in ("a/1.csv", "a/2.csv", "a/b/3.csv", "a/_SUCCESS", "a/.hidden/4.csv", "a1.csv"):
        lab.put(name, b"x")
    store = lab.context().store

    def names(pattern: str) -> list[str]:
        return [o.uri.removeprefix(lab.root + "/") for o in store.glob(f"{lab.root}/{pattern}")]

    assert names("a/") == ["a/1.csv", "a/2.csv", "a/b/3.csv"]
    assert names("a/*.csv") == ["a/1.csv", "a/2.csv"]
    assert names("a/**.csv")[-1] == "a/b/3.csv"
    assert names("a/?.csv") == ["a/1.csv", "a/2.csv"]
    assert names("a1.csv") == ["a1.csv"]
    assert names("a1") == []
    with pytest.raises(TaskError, match="is not an S3 URI"):
        store.glob("http://x")
