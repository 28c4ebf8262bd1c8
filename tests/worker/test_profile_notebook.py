"""The notebook that lies beside the rows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat

from tidemill_worker.profile.notebook import notebook

from .lab import ACCESS, SECRET, Lab
from .samples import prepare, s3
from .test_profile_html import version


def test_the_notebook_is_valid_and_has_no_output() -> None:
    document = nbformat.reads(notebook(), as_version=4)
    nbformat.validate(document)
    assert (document.nbformat, document.nbformat_minor) == (4, 5)
    assert [cell.id for cell in document.cells] == [f"cell-{i:02}" for i in range(len(document.cells))]
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in document.cells)
    assert [cell.metadata.get("tags") for cell in document.cells].count(["parameters"]) == 1
    assert notebook() == notebook()


def execute(text: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a notebook's code cells as one script, in a folder of its own."""
    code = "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    drawn = "\nprint('pictures:', len(plt.get_fignums()))\n"
    (folder / "explore.py").write_text(code + drawn)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TIDEMILL_", "AWS_"))}
    environment = {**kept, "MPLBACKEND": "Agg", **variables}
    command = [sys.executable, "explore.py"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_notebook_explores_the_version_in_the_store(lab: Lab, tmp_path: Path) -> None:
    result = version(lab, target="y", timeColumn="at")
    text = lab.get(f"{result.artifact.uri}/explore.ipynb").decode()
    store = {"AWS_ENDPOINT_URL": lab.seaweed.endpoint, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    done = execute(text, tmp_path, TIDEMILL_DATASET_URI=result.artifact.uri, **store)
    assert done.returncode == 0, done.stderr
    assert f"{result.artifact.digest}: 600 rows, 10 columns" in done.stdout
    assert re.search(r"pictures: [6-9]", done.stdout), done.stdout
    wrong = execute(
        text, tmp_path, TIDEMILL_DATASET_URI=result.artifact.uri, TIDEMILL_DATASET_DIGEST="sha256:" + "0" * 64, **store
    )
    assert wrong.returncode == 1
    assert "the version was changed" in wrong.stderr
    lab.put(f"{result.artifact.uri.removeprefix(lab.root + '/')}/train.parquet", b"other")
    changed = execute(text, tmp_path, TIDEMILL_DATASET_URI=result.artifact.uri, **store)
    assert changed.returncode == 1
    assert "train.parquet differs from the manifest" in changed.stderr


def test_names_that_could_be_formulas(lab: Lab, tmp_path: Path) -> None:
    """Matplotlib reads what stands between two $ as TeX, and ends with an error when it is none."""
    columns = {"$\\frac$": [1.5 * i for i in range(60)], "a_$x$_$": list(range(60)), "k": ["$^$", "$_$"] * 30}
    uri = lab.put_table("a.parquet", {**columns, "at": list(range(60)), "gap $^$": [None, 1] * 30})
    profile = {"target": "$\\frac$", "timeColumn": "at"}
    result = lab.run(prepare(lab, s3("a", uri), profile=profile))
    store = {"AWS_ENDPOINT_URL": lab.seaweed.endpoint, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    text = lab.get(f"{result.artifact.uri}/explore.ipynb").decode().replace("plt.show()", "plt.gcf().canvas.draw()")
    done = execute(text, tmp_path, TIDEMILL_DATASET_URI=result.artifact.uri, **store)
    assert done.returncode == 0, done.stderr


def test_the_notebook_explores_a_downloaded_folder(lab: Lab, tmp_path: Path) -> None:
    result = version(lab, pictures=False)
    name = result.artifact.uri.rpartition("/")[2]
    folder = tmp_path / name
    folder.mkdir()
    for key in lab.list(f"datasets/flights/{name}"):
        (folder / key.rpartition("/")[2]).write_bytes(lab.get(f"{lab.root}/{key}"))
    done = execute((folder / "explore.ipynb").read_text(), folder)
    assert done.returncode == 0, done.stderr
    folder.rename(tmp_path / "renamed")
    renamed = execute(notebook(), tmp_path / "renamed")
    assert renamed.returncode == 1
    assert "set TIDEMILL_DATASET_DIGEST" in renamed.stderr
    assert execute(notebook(), tmp_path / "renamed", TIDEMILL_DATASET_DIGEST=result.artifact.digest).returncode == 0
