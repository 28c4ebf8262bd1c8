"""A Python file from a git repository: a real one, served over https."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dulwich.objects import Blob, Tree
from dulwich.repo import MemoryRepo

from tidemill_worker.errors import (
    AccessDenied,
    ArtifactCorrupt,
    InvalidData,
    ObjectNotFound,
    SourceUnavailable,
)
from tidemill_worker.own import code
from tidemill_worker.own import git as git_module

from .git_server import GitServer, commit, git, repository, start_git_server
from .lab import Lab, free_ports
from .samples import Document, dataset
from .script_cases import TRAIN, digest, fetching, refused


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


def from_git(server: GitServer, revision: str, **more: Any) -> Document:
    path = more.pop("path", "src/train.py")
    return {"git": {"url": f"{server.address}/delay.git", "revision": revision, "path": path, **more}}


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
