"""FetchDataset for a script trainer: the code of a ConfigMap or of a git repository, the same in every pod of a run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tidemill.contract.results import TaskFailure
from tidemill_worker.errors import (
    ArtifactCorrupt,
    ConfigMapMissing,
    InvalidData,
    ScriptError,
)

from .lab import Lab
from .samples import Document, dataset
from .script_cases import TRAIN, digest, fetching, refused


def mount(lab: Lab, text: str, key: str = "train.py") -> None:
    """The ConfigMap as the kubelet shows it: the file is a link to the newest version's folder."""
    folder = lab.environment.task_file.parent / "code"
    folder.mkdir(exist_ok=True)
    version = folder / f"..{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    version.mkdir()
    (version / key).write_text(text)
    (folder / key).unlink(missing_ok=True)
    (folder / key).symlink_to(Path(version.name) / key)


def config_map(**more: Any) -> Document:
    return {"configMap": {"name": "training", **more}}


def test_the_file_of_a_config_map_and_the_dataset_lie_ready(lab: Lab) -> None:
    mount(lab, TRAIN)
    result = lab.run(fetching(lab, config_map(digest=digest(TRAIN)), dataset(lab, 50)))
    work = lab.environment.work_dir
    assert result.code == digest(TRAIN)
    assert (work / "code/train.py").read_text() == TRAIN
    assert {"train.parquet", "validation.parquet", "test.parquet"} <= {p.name for p in (work / "input").iterdir()}
    assert [list((work / name).iterdir()) for name in ("output", "checkpoint")] == [[], []]
    source = lab.get_json(f"{lab.root}/runs/own/uid/code/source.json")
    assert source == {"uri": "configmap:team/training/train.py", "version": result.code, "digest": result.code}


def test_an_edit_of_the_config_map_changes_nothing_for_a_run_that_has_begun(lab: Lab) -> None:
    data = dataset(lab, 50)
    mount(lab, TRAIN)
    first = lab.run(fetching(lab, config_map(), data))
    mount(lab, "print('edited')\n")
    second = lab.run(fetching(lab, config_map(), data))
    assert first.code == second.code == digest(TRAIN)
    assert (lab.environment.work_dir / "code/train.py").read_text() == TRAIN
    (lab.environment.task_file.parent / "code/train.py").unlink()
    assert lab.run(fetching(lab, config_map(), data)).code == digest(TRAIN), "not even its removal does"


def test_what_was_recorded_of_the_code_is_checked(lab: Lab) -> None:
    mount(lab, TRAIN)
    lab.run(fetching(lab, config_map(), dataset(lab, 50)))
    lab.put(f"runs/own/uid/code/{digest(TRAIN)[7:]}.py", b"print('other')")
    with pytest.raises(ArtifactCorrupt, match="was changed"):
        lab.run(fetching(lab, config_map()))


def test_another_content_than_the_digest_asks_for_is_refused(lab: Lab) -> None:
    mount(lab, "print('edited')\n")
    error = refused(lab, InvalidData, config_map(digest=digest(TRAIN)))
    assert error.exit_code == 65, "no retry makes it right"
    assert error.field == "spec.trainer.script.configMap.digest"
    assert digest(TRAIN) in error.message
    assert digest("print('edited')\n") in error.message


def test_a_missing_config_map_or_key_is_named_and_worth_another_try(lab: Lab) -> None:
    mount(lab, TRAIN, key="other.py")
    error = refused(lab, ConfigMapMissing, config_map())
    assert error.exit_code == 1
    assert (str(error.reason), error.field) == ("ObjectNotFound", "spec.trainer.script.configMap")
    assert "ConfigMap training does not exist" in error.message
    assert "has no key train.py" in error.message
    assert "kubectl create configmap training --from-file=train.py" in error.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import json\nloss = = 3\n", "train.py, line 2, column 8: invalid syntax: loss = = 3"),
        ("def train():\n  x = 1\n    y = 2\n", "train.py, line 3, column 4: unexpected indent: y = 2"),
        ("print('a'\n", "train.py, line 1, column 6: '(' was never closed"),
        ("x = 1\0\n", "null bytes"),
    ],
)
def test_what_is_no_python_is_refused_with_its_line(lab: Lab, text: str, words: str) -> None:
    mount(lab, text)
    error = refused(lab, ScriptError, config_map())
    assert (error.exit_code, str(error.reason)) == (64, "ScriptError")
    assert words in error.message


def test_the_python_of_another_image_may_be_newer(lab: Lab) -> None:
    mount(lab, "this = = fine\n")
    script = {**config_map(), "image": "python:4"}
    assert lab.run(fetching(lab, script, dataset(lab, 50))).code == digest("this = = fine\n")


def test_the_process_says_what_is_wrong_with_the_file(lab: Lab) -> None:
    mount(lab, "import json\nloss = = 3\n")
    (lab.environment.task_file.parent / "code").rename(lab.work / "mounted")
    task = lab.work / "etc"
    task.mkdir()
    (lab.work / "mounted").rename(task / "code")
    code_, result, log = lab.process(fetching(lab, config_map()), TIDEMILL_TASK=str(task / "task"))
    assert code_ == 64, log
    assert isinstance(result, TaskFailure)
    assert (result.reason, result.field) == ("ScriptError", "spec.trainer.script")
    assert "line 2, column 8" in result.message
