"""Two versions of a dataset side by side: the scores, the command, and what it says of bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon

from tidemill_worker.compare_datasets import reference, run
from tidemill_worker.data import compare_html
from tidemill_worker.data.binning import psi
from tidemill_worker.data.compare import ColumnShift, Comparison, jensen_shannon
from tidemill_worker.errors import ArtifactCorrupt, InvalidSpec, ObjectNotFound

from .lab import Lab
from .samples import prepare, s3
from .test_profile_html import Page


def table(rows: int, seed: int, *, moved: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    groups = np.array(["a", "b", "c", "new one", "d"])
    at = 1_600_000_000_000_000 + rng.integers(0, 10**12, rows) + (10**12 if moved else 0)
    return {
        "stable": rng.normal(size=rows),
        "moved": rng.normal(1.5 if moved else 0, 1, rows),
        "missing": pa.array(rng.normal(size=rows), mask=rng.random(rows) < (0.4 if moved else 0.1)),
        "group": groups[rng.integers(0, 3, rows) + (1 if moved else 0)],
        "at": pa.array(at.astype("datetime64[us]")),
        "type": rng.integers(0, 9, rows).astype(str) if moved else rng.integers(0, 9, rows),
        "list": pa.array([[1, 2]] * rows),
        **({"added": [1.0] * rows} if moved else {"removed": [True] * rows}),
    }


def version(lab: Lab, name: str, columns: dict[str, Any]) -> str:
    uri = lab.put_table(f"in/{name}.parquet", pa.table(columns))
    document = {
        **prepare(lab, s3("a", uri), profile={"pictures": False, "html": False}),
        "root": f"{lab.root}/datasets/{name}",
    }
    found: str = lab.run(document).artifact.uri
    return found


@pytest.fixture
def both(lab: Lab) -> tuple[str, str]:
    return version(lab, "first", table(3000, 1)), version(lab, "second", table(2000, 2, moved=True))


def test_jensen_shannon_distance() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 50, 12).astype(float), rng.integers(0, 50, 12).astype(float)
        assert jensen_shannon(a, b) == pytest.approx(jensenshannon(a, b, base=2), abs=1e-9)
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 7.0])) == 1
    assert jensen_shannon(np.array([2.0, 4.0]), np.array([1.0, 2.0])) == pytest.approx(0, abs=1e-9)


def test_what_has_moved_is_found(lab: Lab, both: tuple[str, str]) -> None:
    comparison = run(lab.context(), reference(both[0]), reference(both[1]))
    assert [sum(rows.values()) for rows in comparison.rows] == [3000, 2000]
    changes = {(c.column, c.change, c.before, c.after) for c in comparison.schema_changes}
    assert changes == {
        ("removed", "Removed", "boolean", None),
        ("added", "Added", None, "double"),
        ("type", "TypeChanged", "bigint", "varchar"),
    }
    shifts = {shift.column: shift for shift in comparison.columns}
    assert set(shifts) == {"stable", "moved", "missing", "group", "at", "type", "list"}
    verdicts = {name: shift.verdict for name, shift in shifts.items()}
    assert verdicts == {
        "stable": "Stable", "moved": "Strong", "missing": "Stable", "group": "Strong", "at": "Strong", "type": None,
        "list": None,
    }  # fmt: skip
    scores = [shift.psi for shift in comparison.columns if shift.psi is not None]
    assert scores == sorted(scores, reverse=True)
    assert shifts["moved"].mean_shift == pytest.approx(1.5, abs=0.1)
    assert shifts["missing"].missing == (pytest.approx(0.1, abs=0.02), pytest.approx(0.4, abs=0.03))
    group = shifts["group"]
    assert group.new is not None
    assert group.lost is not None
    assert (group.new.values, group.lost.values) == (("new one",), ("a",))
    assert group.distribution is not None
    assert group.distribution.labels[-1] == "all others"


def test_scores_are_those_of_the_rows(lab: Lab, both: tuple[str, str]) -> None:
    comparison = run(lab.context(), reference(both[0]), reference(both[1]))
    x, y = (
        np.concatenate(
            [lab.get_table(f"{uri}/{s}.parquet")["moved"].to_numpy() for s in ("train", "validation", "test")]
        )
        for uri in both
    )
    edges = np.quantile(x, np.arange(1, 10) / 10, method="inverted_cdf")
    a, b = (np.bincount(np.searchsorted(edges, values, "right"), minlength=10).astype(float) for values in (x, y))
    found = next(shift for shift in comparison.columns if shift.column == "moved")
    assert found.psi == pytest.approx(psi(a, b), abs=6e-5)
    assert found.jensen_shannon == pytest.approx(jensenshannon(a, b, base=2), abs=6e-5)
    assert found.distribution is not None
    assert sum(map(float, found.distribution.first)) == pytest.approx(1, abs=1e-4)


def test_a_version_and_itself_do_not_differ(lab: Lab, both: tuple[str, str]) -> None:
    comparison = run(lab.context(), reference(both[0]), reference(both[0]))
    assert not comparison.schema_changes
    assert {shift.psi for shift in comparison.columns if shift.psi is not None} == {0}
    assert all(shift.new is None and shift.lost is None for shift in comparison.columns)


def test_odd_columns_are_compared_as_far_as_they_can(lab: Lab) -> None:
    first = version(
        lab,
        "odd",
        {"inf": [float("inf")] * 50, "one": [1.0] * 50, "none": pa.nulls(50, pa.float64()), "x\n<b>": ["ü"] * 50},
    )
    second = version(
        lab, "even", {"inf": [1.0] * 50, "one": [2.0] * 50, "none": [1.0] * 50, "x\n<b>": pa.nulls(50, pa.string())}
    )
    comparison = run(lab.context(), reference(first), reference(second))
    shifts = {shift.column: shift for shift in comparison.columns}
    assert shifts["one"].verdict == "Strong"
    assert {name for name, shift in shifts.items() if shift.psi is None} == {"inf", "none", "x\n<b>"}
    page = compare_html.render(comparison)
    Page(page)
    assert "<b>" not in page


def test_the_page_stands_alone() -> None:
    shifts = [ColumnShift(column=f"c{i}", kind="Number", missing=(0, 0.5)) for i in range(120)]
    rows = {"train": 1, "validation": 0, "test": 0}
    page = compare_html.render(
        Comparison(
            first="a", second="b", rows=(rows, rows), duplicate_rows=(0, 0), schema_changes=(), columns=tuple(shifts)
        )
    )
    found = Page(page)
    assert "40 more columns" in page
    assert not {"script", "link", "img"} & {tag for tag, _ in found.tags}


def command(lab: Lab, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **lab.seaweed.environment(), "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    whole = [sys.executable, "-m", "tidemill_worker.compare_datasets", *arguments]
    return subprocess.run(whole, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_writes_both_files(lab: Lab, both: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "reports" / "one"
    done = command(lab, *both, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "moved: Strong shift, PSI" in done.stdout
    assert "3 changes of the schema" in done.stdout
    found = Comparison.model_validate_json((out / "comparison.json").read_text())
    assert found.first == "sha256:" + both[0].rpartition("/")[2]
    page = (out / "comparison.html").read_text()
    assert Page(page).headings == ["Schema", "Shifts", "Columns", "Methods"]
    assert page.count("<svg") == len([s for s in found.columns if s.distribution is not None])
    assert 'class="second"' in page
    again = command(lab, *both, "--out", str(tmp_path / "again"))
    assert again.returncode == 0
    assert json.loads((tmp_path / "again/comparison.json").read_text()) == json.loads(
        (out / "comparison.json").read_text()
    )


def test_help() -> None:
    whole = [sys.executable, "-m", "tidemill_worker.compare_datasets", "--help"]
    done = subprocess.run(
        whole, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    for words in ("URI_A URI_B --out FOLDER", "AWS_ENDPOINT_URL", "exit code"):
        assert words in " ".join(done.stdout.split())


def test_bad_input(lab: Lab, both: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    unknown = f"s3://tidemill/none/{'0' * 64}"
    for arguments, code, words in (
        (("s3://tidemill/none", both[1], "--out", "x"), 64, "names no version"),
        ((both[0], unknown, "--out", "x"), 65, "does not exist"),
        ((*both, "--out", str(tmp_path / "file")), 64, "is not a folder"),
        ((*both, "--out", "/proc/none"), 64, "cannot be written"),
        (both, 2, "--out"),
    ):
        done = command(lab, *arguments)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    denied = command(lab, *both, "--out", str(tmp_path / "out"), AWS_SECRET_ACCESS_KEY="wrong")
    assert denied.returncode == 67
    assert not (tmp_path / "out").exists()


def test_a_changed_file_is_refused(lab: Lab, both: tuple[str, str]) -> None:
    lab.put(f"{both[1].removeprefix(lab.root + '/')}/test.parquet", b"other")
    with pytest.raises(ArtifactCorrupt, match=r"test\.parquet differs from its manifest"):
        run(lab.context(), reference(both[0]), reference(both[1]))


def test_versions_are_named_by_uri_or_digest() -> None:
    hexadecimal = "ab" * 32
    assert reference(f"s3://b/k/{hexadecimal}/").digest == f"sha256:{hexadecimal}"
    assert reference(f"s3://b/renamed@sha256:{hexadecimal}").uri == "s3://b/renamed"
    for text in ("s3://b/k", f"/local/{hexadecimal}", f"s3://b/k@{hexadecimal}", ""):
        with pytest.raises(InvalidSpec, match="names no version"):
            reference(text)


def test_a_version_that_does_not_exist(lab: Lab) -> None:
    with pytest.raises(ObjectNotFound, match="first version"):
        run(lab.context(), reference(f"{lab.root}/{'0' * 64}"), reference(f"{lab.root}/{'1' * 64}"))
