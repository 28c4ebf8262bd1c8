"""FetchDataset for a script trainer: the code of a ConfigMap or of a git repository, the same in every pod of a run."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dulwich.objects import Blob, Tree
from dulwich.repo import MemoryRepo

from tidemill.contract.results import TaskFailure
from tidemill_worker.errors import (
    AccessDenied,
    ArtifactCorrupt,
    ConfigMapMissing,
    InvalidData,
    ObjectNotFound,
    ScriptError,
    SourceUnavailable,
    TaskError,
)
from tidemill_worker.own import code
from tidemill_worker.own import git as git_module

from .git_server import GitServer, commit, git, repository, start_git_server
from .lab import Lab, free_ports
from .samples import Document, dataset

TRAIN = "import json\nprint('trains')\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    root = tmp_path / "repositories"
    root.mkdir()
    with start_git_server(root) as running:
        monkeypatch.setenv("SSL_CERT_FILE", str(running.certificate))
        monkeypatch.setattr(git_module, "WAITS", ())
        yield running


@pytest.fixture
def project(server: GitServer) -> tuple[Path, str]:
    """A repository, and a commit that is not its newest."""
    folder = repository(server.root / "delay.git")
    (folder / "data.csv").symlink_to("/etc/passwd")
    wanted = commit(folder, {"src/train.py": TRAIN, "src/helper.py": "X = 1\n", "run.sh": "#!/bin/sh\n"})
    (folder / "run.sh").chmod(0o755)
    wanted = commit(folder, {"src/train.py": TRAIN, "note.md": "1"})
    commit(folder, {"src/train.py": "print('newer')\n"})
    return folder, wanted


def fetching(lab: Lab, script: Document, data: Document | None = None) -> Document:
    return {
        "type": "FetchDataset",
        "dataset": data or {"uri": f"{lab.root}/datasets/none", "digest": "sha256:" + "0" * 64},
        "script": {"target": "arr_delay", **script},
        "runRoot": f"{lab.root}/runs/own/uid",
    }


def from_git(server: GitServer, revision: str, **more: Any) -> Document:
    path = more.pop("path", "src/train.py")
    return {"git": {"url": f"{server.address}/delay.git", "revision": revision, "path": path, **more}}


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


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def refused(lab: Lab, kind: type[TaskError], script: Document) -> TaskError:
    with pytest.raises(kind) as caught:
        lab.run(fetching(lab, script))
    assert not lab.list("runs/"), "nothing is recorded of code that cannot run"
    assert str(lab.work) not in caught.value.message, "a path of the pod says nothing to the user"
    assert (caught.value.field or "").startswith("spec.trainer.script")
    return caught.value


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


def test_a_commit_is_laid_out_whole(lab: Lab, server: GitServer, project: tuple[Path, str]) -> None:
    result = lab.run(fetching(lab, from_git(server, project[1]), dataset(lab, 50)))
    folder = lab.environment.work_dir / "code"
    assert result.code == project[1]
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert names == ["note.md", "run.sh", "src/helper.py", "src/train.py"], "links are left out, history is not there"
    assert (folder / "src/train.py").read_text() == TRAIN, "the commit's, not the newest"
    assert os.access(folder / "run.sh", os.X_OK)
    assert not os.access(folder / "note.md", os.X_OK)
    source = lab.get_json(f"{lab.root}/runs/own/uid/code/source.json")
    assert source["uri"] == f"git+{server.address}/delay.git@{project[1]}#src/train.py"
    assert (source["version"], source["digest"]) == (project[1], digest(TRAIN))
    again = lab.run(fetching(lab, from_git(server, project[1]), dataset(lab, 50)))
    assert again.code == project[1]


def test_a_repository_of_sha256_objects(lab: Lab, server: GitServer) -> None:
    wanted = commit(repository(server.root / "delay.git", form="sha256"), {"src/train.py": TRAIN})
    assert len(wanted) == 64
    assert lab.run(fetching(lab, from_git(server, wanted), dataset(lab, 50))).code == wanted
    assert (lab.environment.work_dir / "code/src/train.py").read_text() == TRAIN


def test_of_an_old_server_all_branches_are_fetched(lab: Lab, server: GitServer, project: tuple[Path, str]) -> None:
    server.versions = False
    assert lab.run(fetching(lab, from_git(server, project[1]), dataset(lab, 50))).code == project[1]
    assert (lab.environment.work_dir / "code/src/train.py").read_text() == TRAIN


@pytest.mark.parametrize("versions", [True, False])
def test_a_commit_that_is_not_there(lab: Lab, server: GitServer, project: tuple[Path, str], versions: bool) -> None:
    del project
    server.versions = versions
    error = refused(lab, ObjectNotFound, from_git(server, "f" * 40))
    assert f"has no commit {'f' * 40}" in error.message
    assert error.field == "spec.trainer.script.git.revision"


def test_a_hash_of_something_else_than_a_commit(lab: Lab, server: GitServer, project: tuple[Path, str]) -> None:
    git(project[0], "tag", "-a", "v1", "-m", "first", project[1])
    tag = git(project[0], "rev-parse", "v1")
    assert "is a tag, no commit" in refused(lab, InvalidData, from_git(server, tag)).message


def test_a_path_that_is_not_in_the_commit(lab: Lab, server: GitServer, project: tuple[Path, str]) -> None:
    error = refused(lab, ObjectNotFound, from_git(server, project[1], path="src/trian.py"))
    assert "has no file src/trian.py: it has src/train.py" in error.message
    assert error.field == "spec.trainer.script.git.path"


def test_a_repository_that_is_not_there_or_is_none(lab: Lab, server: GitServer) -> None:
    assert "there is no git repository at" in refused(lab, ObjectNotFound, from_git(server, "f" * 40)).message
    server.page = b"<html>Please log in</html>"
    assert "does not answer as a git repository does" in refused(lab, InvalidData, from_git(server, "f" * 40)).message


def test_a_private_repository(lab: Lab, server: GitServer, project: tuple[Path, str]) -> None:
    server.login = ("ada", "token")
    without = refused(lab, AccessDenied, from_git(server, project[1]))
    assert "name a Secret with username and password in spec.trainer.script.git.secretName" in without.message
    missing = refused(lab, AccessDenied, from_git(server, project[1], secretName="git"))
    assert "Secret git does not exist or lacks username or password" in missing.message
    folder = lab.environment.secret_dir / "git"
    folder.mkdir(parents=True)
    (folder / "username").write_text("ada\n")
    (folder / "password").write_text("wrong")
    assert (
        "check username and password in Secret git"
        in refused(lab, AccessDenied, from_git(server, project[1], secretName="git")).message
    )
    (folder / "password").write_text("token\n")
    script = from_git(server, project[1], secretName="git")
    assert lab.run(fetching(lab, script, dataset(lab, 50))).code == project[1]


def test_credentials_stay_with_the_server_that_they_are_for(
    lab: Lab, server: GitServer, project: tuple[Path, str], tmp_path: Path
) -> None:
    folder = lab.environment.secret_dir / "git"
    folder.mkdir(parents=True)
    (folder / "username").write_text("ada")
    (folder / "password").write_text("token")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with start_git_server(elsewhere) as front:
        trusted = tmp_path / "trusted.pem"
        trusted.write_bytes(server.certificate.read_bytes() + front.certificate.read_bytes())
        os.environ["SSL_CERT_FILE"] = str(trusted)  # monkeypatched by the fixture: undone after the test
        front.moved_to = server.address
        script = from_git(server, project[1], secretName="git")
        script["git"]["url"] = f"{front.address}/delay.git"
        assert lab.run(fetching(lab, script, dataset(lab, 50))).code == project[1]
    assert front.logins == ["Basic " + base64.b64encode(b"ada:token").decode()]
    assert set(server.logins) == {None}


def test_a_server_that_does_not_answer_or_is_not_trusted(
    lab: Lab, server: GitServer, project: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    away = from_git(server, project[1])
    away["git"]["url"] = f"https://localhost:{port}/delay.git"
    with pytest.raises(SourceUnavailable, match="does not answer"):
        lab.run(fetching(lab, away))
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(InvalidData, match="is not trusted"):
        lab.run(fetching(lab, from_git(server, project[1])))


def test_an_object_that_does_not_have_its_hash_is_not_used() -> None:
    repo, honest, other = MemoryRepo(), Blob.from_string(b"honest"), Blob.from_string(b"other")
    repo.object_store.add_object(honest)
    assert git_module._verified(repo, honest.id).as_raw_string() == b"honest"
    repo.object_store._data[honest.id] = other  # type: ignore[attr-defined]
    with pytest.raises(ArtifactCorrupt, match="does not have its hash"):
        git_module._verified(repo, honest.id)


@pytest.mark.parametrize("name", [b"..", b".git", b".GIT", b"."])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: bytes) -> None:
    repo, blob, tree = MemoryRepo(), Blob.from_string(b"x"), Tree()
    tree.add(name, 0o100644, blob.id)
    repo.object_store.add_objects([(blob, None), (tree, None)])
    with pytest.raises(InvalidData, match="which git never makes"):
        list(git_module._files(repo, tree.id, Path()))


def test_a_file_that_is_too_long_is_refused(lab: Lab, server: GitServer) -> None:
    folder = repository(server.root / "delay.git")
    wanted = commit(folder, {"src/train.py": "#" * (code.LARGEST + 1)})
    assert "more than 1048576" in refused(lab, InvalidData, from_git(server, wanted)).message
