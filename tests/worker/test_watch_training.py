"""While a user's own code trains: its progress, its metrics, its checkpoints, and the next pod that finds these again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tidemill.contract.results import Progress
from tidemill_worker.errors import StoreUnavailable
from tidemill_worker.own import checkpoint as checkpoint_module
from tidemill_worker.own import metrics as metrics_module
from tidemill_worker.own.checkpoint import Changed, CheckpointFolder, Kept, KeptCheckpoint, TooMany
from tidemill_worker.progress import serve

from .lab import OWNER, Lab, free_ports, progress_of
from .own_lab import keep, kept_metrics, publishing, restored, tell, watcher
from .samples import dataset, linear


def test_progress_is_what_the_newest_whole_line_says(lab: Lab) -> None:
    watch, context = watcher(lab)
    watch.turn()
    assert (context.tracker.current.phase, context.tracker.current.fraction) == ("Training", 0)
    tell(lab, {"step": 1, "steps": 8, "loss": 4.0})
    tell(lab, '{"step": 2, "steps": 8, "loss"', end="")
    watch.turn()
    now = context.tracker.current
    assert (now.fraction, now.loss, now.validation_loss, now.message) == (0.125, 4.0, None, "step 1 of 8")
    tell(lab, ': 3.0, "validationLoss": 3.5, "lr": 0.1}')
    watch.turn()
    now = context.tracker.current
    assert (now.fraction, now.loss, now.validation_loss, now.epoch) == (0.25, 3.0, 3.5, None)
    tell(lab, {"step": 3, "epoch": 1, "epochs": 2, "loss": 2.0})
    watch.turn()
    assert (context.tracker.current.epoch, context.tracker.current.epochs) == (1, 2)
    assert context.tracker.current.fraction == 0.5
    assert Progress.model_validate_json(context.tracker.current.to_json()) == context.tracker.current


BAD_LINES: list[tuple[str, str]] = [
    ("loss: 3", "line 2 of metrics.jsonl is not read"),
    ("[1, 2]", "line 2 of metrics.jsonl is not read"),
    ('{"loss": 3}', "line 2 of metrics.jsonl is not read: step:"),
    ('{"step": -1, "loss": 3}', "line 2 of metrics.jsonl is not read: step:"),
    ('{"step": 2, "loss": "low"}', "line 2 of metrics.jsonl is not read: loss:"),
    ('{"step": 2, "loss": NaN}', "line 2 of metrics.jsonl: loss of step 2 is not finite, and left out"),
]


@pytest.mark.parametrize(("line", "words"), BAD_LINES)
def test_a_line_that_cannot_be_read_becomes_a_warning(lab: Lab, line: str, words: str) -> None:
    watch, context = watcher(lab)
    tell(lab, {"step": 1, "loss": 4.0}, line, "", {"step": 3, "loss": 2.0})
    watch.turn()
    assert words in context.tracker.current.message
    assert context.tracker.current.loss == 2.0
    assert {1, 3} <= {m["step"] for m in kept_metrics(lab)}
    (lab.environment.output / "model.onnx").write_bytes(linear(["distance"]))
    result = lab.run(publishing(lab, dataset(lab, 50)))
    assert any(words in warning for warning in result.warnings)
    assert "NaN" not in lab.get(f"{lab.root}/runs/own/uid/metrics.jsonl").decode()


def test_a_file_that_begins_anew_is_read_anew_and_a_huge_one_only_in_part(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, context = watcher(lab)
    tell(lab, *({"step": n, "loss": 1.0} for n in range(10)))
    watch.turn()
    (lab.environment.output / "metrics.jsonl").write_text('{"step": 0, "loss": 9.0}\n')
    watch.turn()
    assert context.tracker.current.loss == 9.0
    watch._due.clear()
    watch.turn()
    assert [m["loss"] for m in kept_metrics(lab)] == [9.0]
    monkeypatch.setattr(metrics_module, "LARGEST", 60)
    tell(lab, *({"step": n, "loss": 8.0} for n in range(1, 10)))
    watch.turn()
    assert "is longer than" in context.tracker.current.message


@pytest.mark.parametrize("place", ["metrics.jsonl", "output"])
def test_links_are_never_followed(lab: Lab, place: str) -> None:
    watch, context = watcher(lab)
    secret = lab.work / "secret"
    secret.mkdir()
    (secret / "metrics.jsonl").write_text('{"step": 7, "loss": 7.0}\n')
    if place == "output":
        lab.environment.output.rmdir()
        lab.environment.output.symlink_to(secret)
    else:
        (lab.environment.output / "metrics.jsonl").symlink_to(secret / "metrics.jsonl")
    watch.turn()
    watch.turn()
    assert context.tracker.current.loss is None
    assert "symbolic link" in context.tracker.current.message or "cannot be read" in context.tracker.current.message


def test_the_next_pod_finds_the_whole_folder_again(lab: Lab) -> None:
    folder = lab.environment.checkpoint
    (folder / "weights").mkdir(parents=True)
    (folder / "weights/a.bin").write_bytes(b"a" * 3_000_000)
    (folder / "state.json").write_text("1")
    (folder / "state.json.tmp").write_text("unfinished")
    (folder / ".cache").write_text("hidden")
    (folder / "out").symlink_to("/proc/self/environ")
    os.mkfifo(folder / "pipe")
    first = keep(lab)
    assert restored(lab) == {"weights/a.bin": b"a" * 3_000_000, "state.json": b"1"}
    (folder / "state.json").write_text("2")
    keep(lab, first)
    assert restored(lab)["state.json"] == b"2"
    stored = [n for n in lab.list("runs/own/uid/checkpoints/own/") if not n.endswith("latest.json")]
    assert len(stored) == 2, "what no checkpoint names any more is gone"


def test_a_damaged_checkpoint_is_not_used(lab: Lab) -> None:
    lab.environment.checkpoint.mkdir()
    (lab.environment.checkpoint / "a").write_text("1")
    (lab.environment.checkpoint / "b").write_text("2")
    kept = keep(lab)
    lab.put(f"runs/own/uid/checkpoints/own/{kept.files[1].sha256}", b"3")
    assert restored(lab) == {}
    lab.put("runs/own/uid/checkpoints/own/latest.json", b"no json")
    assert restored(lab) == {}


def test_a_path_out_of_the_folder_is_not_restored(lab: Lab) -> None:
    bad = Kept.model_validate({"files": [{"path": "../../x", "sha256": "0" * 64, "size": 1}]})
    lab.put("runs/own/uid/checkpoints/own/latest.json", bad.to_json().encode())
    assert restored(lab) == {}


def test_a_folder_that_changes_while_it_is_read_is_not_kept(lab: Lab) -> None:
    folder = lab.environment.checkpoint
    folder.mkdir()
    (folder / "a").write_text("1")
    first = keep(lab)
    here = CheckpointFolder(folder)
    look = here.look()
    (folder / "a").write_text("22")
    with pytest.raises(Changed):
        KeptCheckpoint(lab.context().store, f"{lab.root}/runs/own/uid").save(here, look, first)
    assert restored(lab) == {"a": b"1"}
    (folder / "a").unlink()
    (folder / "a").symlink_to("/proc/self/environ")
    with pytest.raises(Changed):
        KeptCheckpoint(lab.context().store, f"{lab.root}/runs/own/uid").save(here, look, first)


def test_a_folder_that_is_swapped_for_a_link_is_not_followed(lab: Lab) -> None:
    folder = lab.environment.checkpoint
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/a").write_text("1")
    here = CheckpointFolder(folder)
    look = here.look()
    (folder / "sub").rename(folder.parent / "moved")
    (folder / "sub").symlink_to(folder.parent / "moved")
    with pytest.raises(Changed):
        KeptCheckpoint(lab.context().store, f"{lab.root}/runs/own/uid").save(here, look, Kept())
    assert here.look() == {}


def test_too_many_files_are_said_and_not_kept(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "MOST_FILES", 2)
    watch, context = watcher(lab)
    for name in ("a", "b", "c"):
        (lab.environment.checkpoint / name).write_text(name)
    with pytest.raises(TooMany):
        CheckpointFolder(lab.environment.checkpoint).look()
    watch.turn()
    watch.turn()
    assert "$TIDEMILL_CHECKPOINT has more than" in context.tracker.current.message


def test_the_pods_own_checkpoint_is_newer_than_the_stores(lab: Lab) -> None:
    lab.environment.checkpoint.mkdir()
    (lab.environment.checkpoint / "a").write_text("1")
    keep(lab)
    (lab.environment.checkpoint / "a").write_text("2")  # and the pod's sandbox was lost
    lab.environment.output.mkdir()
    (lab.environment.output / "metrics.jsonl").write_text("of before")
    lab.run({"type": "FetchDataset", "dataset": dataset(lab, 20), "runRoot": f"{lab.root}/runs/own/uid"})
    assert (lab.environment.checkpoint / "a").read_text() == "2"
    assert not list(lab.environment.output.iterdir())


def test_a_store_that_is_away_costs_the_training_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, context = watcher(lab)
    tell(lab, {"step": 1, "loss": 4.0})

    def away(*_arguments: Any, **_more: Any) -> Any:
        raise StoreUnavailable("the store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(context.store, "put", away)
        watch.turn()
        watch.turn()
    assert "the store does not answer" in context.tracker.current.message
    assert not lab.list("runs/")
    watch._due.clear()
    watch.turn()
    watch.turn()
    assert [m["step"] for m in kept_metrics(lab)] == [1]
    assert "does not answer" not in context.tracker.current.message


def test_when_the_task_has_begun_its_words_are_passed_on(lab: Lab) -> None:
    (port,) = free_ports(1)
    watch, context = watcher(lab, port=port)
    other = lab.context().tracker
    other.phase("Evaluating", 0.5)
    server = serve(other, port)
    assert server is not None
    watch.turn()
    server.shutdown()
    server.server_close()
    assert context.tracker.current.phase == "Evaluating"
    assert context.tracker.current.fraction == 0.5
    tell(lab, {"step": 1, "loss": 4.0})
    watch.turn()
    watch.end()
    assert not lab.list("runs/"), "the training is over: the task keeps its metrics"


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := what():
                return found
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError("waited in vain")


@pytest.mark.slow
def test_the_sidecar_as_a_process_keeps_what_was_written_after_it_was_told_to_end(lab: Lab) -> None:
    """The code of a user writes its last checkpoint on SIGTERM, which both of them get at the same time."""
    for folder in (lab.environment.output, lab.environment.checkpoint):
        folder.mkdir()
    (port,) = free_ports(1)
    document = {"type": "WatchTraining", "training": {"owner": OWNER, **publishing(lab)}}
    command, variables, log = lab.command(
        document,
        TIDEMILL_PROGRESS_PORT=str(port),
        TIDEMILL_OUTPUT=str(lab.environment.output),
        TIDEMILL_CHECKPOINT=str(lab.environment.checkpoint),
        TIDEMILL_IMAGE="mine",
    )
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        tell(lab, {"step": 1, "steps": 2, "loss": 4.0})
        until(lambda: progress_of(port).get("loss") == 4.0)
        until(lambda: lab.list("runs/own/uid/metrics.jsonl"))
        process.send_signal(signal.SIGTERM)
        (lab.environment.checkpoint / "last.bin").write_bytes(b"last")
        tell(lab, {"step": 2, "steps": 2, "loss": 3.0})
        assert process.wait(timeout=60) == 0, process.stdout.read().decode() if process.stdout else ""
    assert json.loads(log.read_text())["type"] == "Part"
    assert [m["step"] for m in kept_metrics(lab)] == [1, 2]
    assert restored(lab) == {"last.bin": b"last"}
    assert lab.get_json(f"{lab.root}/runs/own/uid/run.json")["image"] == "mine"


def test_of_several_pods_only_the_first_one_keeps_anything(lab: Lab) -> None:
    other = lab.with_environment(pod_index=1)
    other.environment.output.mkdir()
    tell(other, {"step": 1, "loss": 4.0})
    context = other.context()
    context.stop.event.set()
    document = {"type": "WatchTraining", "training": {"owner": OWNER, **publishing(lab)}}
    assert other.run(document, replace(context)).type == "Part"
    assert not lab.list("runs/")
