"""What cannot be done is said with the way out: names, rights, credentials, arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.cli.api import Api
from tests.cli.conftest import Tidemill
from tests.cli.objects import run, succeeded
from tests.worker.lab import free_ports


def test_a_run_that_does_not_exist_is_told_with_what_does(api: Api, tidemill: Tidemill) -> None:
    api.add(run("flights-q1"))
    api.add(run("flights-q2"))
    said = tidemill("compare", "flights-q1", "flight-q3")
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith(f"error: no TrainingRun flight-q3 in namespace {api.namespace}: there is flights-q")
    assert "another namespace is named by -n" in said.err
    none = tidemill("lineage", "delay-v9")
    assert "no ModelVersion delay-v9" in none.err
    assert "there is no ModelVersion at all" in none.err


def test_a_namespace_that_does_not_exist_is_told(api: Api, tidemill: Tidemill) -> None:
    said = tidemill("compare", "a", "-n", "nowhere")
    assert said.status == 1
    assert said.err == (
        "error: no TrainingRun a in namespace nowhere: the namespace does not exist: name another one by -n\n"
    )
    context = tidemill("runs", kubeconfig=api.kubeconfig(namespace="nowhere"))
    assert "no TrainingRun in namespace nowhere" in context.err


def test_a_right_that_is_missing_is_named_by_verb_and_resource(api: Api, tidemill: Tidemill) -> None:
    api.add(run("a"))
    nothing = api.kubeconfig({"secrets": "get"})
    said = tidemill("runs", kubeconfig=nothing)
    assert said.status == 1
    where = (
        f"in namespace {api.namespace}: ask for a Role with the verb 'list' on the resource 'trainingruns.tidemill.dev'"
    )
    assert f"you may not list trainingruns.tidemill.dev {where}" in said.err
    assert "you may not get trainingruns.tidemill.dev" in tidemill("compare", "a", kubeconfig=nothing).err
    only_get = api.kubeconfig({"trainingruns.tidemill.dev": "get"})
    assert (
        "no TrainingRun b" in (missing := tidemill("compare", "b", kubeconfig=only_get).err)
        or "may not list" in missing
    )


def test_credentials_and_kubeconfigs_that_do_not_work(api: Api, tidemill: Tidemill, tmp_path: Path) -> None:
    stranger, document = tmp_path / "stranger", yaml.safe_load(api.kubeconfig().read_text())
    for user in document["users"]:
        user["user"] = {"token": "nobody"}
    stranger.write_text(yaml.safe_dump(document))
    assert "does not accept your credentials: log in again" in tidemill("runs", kubeconfig=stranger).err
    assert "has no context 'prod'; it has:" in tidemill("runs", "--context", "prod").err
    for cluster in document["clusters"]:
        cluster["cluster"] = {"server": f"http://127.0.0.1:{free_ports(1)[0]}"}
    stranger.write_text(yaml.safe_dump(document))
    assert "does not answer" in tidemill("runs", kubeconfig=stranger).err
    absent = tidemill("runs", "--kubeconfig", str(tmp_path / "none"))
    assert absent.status == 1
    assert f"error: kubeconfig {tmp_path / 'none'}" in absent.err
    stranger.write_text("{}")
    assert f"error: kubeconfig {stranger}" in tidemill("runs", "--kubeconfig", str(stranger)).err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "COMMAND"),
        (("compare",), "compare takes the names of runs, or -l and --model to select them"),
        (("compare", "a", "--model", "b"), "compare takes the names of runs, or -l and --model"),
        (("runs", "-o", "html"), "invalid choice: 'html'"),
        (("lineage",), "MODELVERSION"),
        (("describe",), "invalid choice: 'describe'"),
    ],
)
def test_arguments_that_make_no_sense(tidemill: Tidemill, arguments: tuple[str, ...], words: str) -> None:
    said = tidemill(*arguments)
    assert said.status == 2
    assert words in said.err


def test_a_run_that_is_named_twice_and_a_file_that_cannot_be_written(api: Api, tidemill: Tidemill) -> None:
    api.add(run("a", status=succeeded({"test": {"mae": 12.5}})))
    assert tidemill("compare", "a", "a").err == "error: named twice: a\n"
    said = tidemill("compare", "a", "--no-store", "--out", "/nowhere/page.html")
    assert said.err.startswith("error: /nowhere/page.html cannot be written: No such file")
