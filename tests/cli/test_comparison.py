"""What a comparison says: which parameters differ, whose metrics are best, what to mind. No I/O anywhere."""

from __future__ import annotations

import json

import pytest
from tests.cli.objects import DIGEST, network, run, seen, side_by_side, stalled, succeeded, training

from tidemill.contract.tracking import Measurement, RunRecord
from tidemill_cli.comparison import Details, curves, document
from tidemill_cli.runs import by_start, headline
from tidemill_cli.text import comparison_text, duration, list_runs, scalar


def test_parameters_that_differ_are_told_apart_from_those_that_do_not() -> None:
    found = side_by_side(
        run("a", trainer=network(learningRate=0.01, hiddenLayers=[64, 32]), gates=[{"metric": "mae", "max": 20}]),
        run("b", trainer=network(learningRate=0.001, hiddenLayers=[64, 32])),
    )
    rows = {row.name: row for row in found.parameters}
    assert rows["learningRate"].values == (0.01, 0.001)
    assert rows["hiddenLayers"].values == ("[64,32]", "[64,32]")
    assert rows["gates"].values == ('[{"metric":"mae","max":20}]', None)
    assert [row.name for row in found.differing] == ["learningRate", "gates"]
    assert rows["target"].values == ("arr_delay", "arr_delay")


def test_equal_fields_of_two_trainers_stand_in_one_line() -> None:
    found = side_by_side(
        run("a", trainer=network(patience=3)),
        run("b", trainer={"boostedRegression": {"target": "arr_delay", "rounds": 9}}),
    )
    assert [(row.name, row.values) for row in found.differing] == [
        ("trainer", ("tabularRegression", "boostedRegression")),
        ("epochs", (15, None)),
        ("patience", (3, None)),
        ("rounds", (None, 9)),
    ]


def test_one_and_true_are_not_the_same_but_one_and_one_point_zero_are() -> None:
    found = side_by_side(run("a", trainer=network(x=1, y=1)), run("b", trainer=network(x=True, y=1.0)))
    assert [row.name for row in found.differing] == ["x"]


def test_images_and_libraries_are_compared_when_the_store_has_them() -> None:
    def details(image: str, torch: str) -> Details:
        record = {"owner": "o", "datasetUri": "u", "datasetDigest": "d", "parameters": {}, "startedAt": "t"}
        return Details(record=RunRecord.model_validate({**record, "image": image, "versions": {"torch": torch}}))

    found = side_by_side(run("a"), run("b"), details=(details("i@1", "2.15"), details("i@2", "2.15")))
    assert [(row.name, row.values) for row in found.differing] == [("image", ("i@1", "i@2"))]


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("mae", (3.0, 1.0, 2.0), {1}),
        ("r2", (0.3, 0.1, 0.3), {0, 2}),
        ("bias", (0.3, 0.1, -0.3), set()),
        ("mae", (1.0, 1.0, 1.0), set()),
        ("mine", (1.0, 2.0, 3.0), set()),
    ],
)
def test_the_best_of_each_line_is_marked(metric: str, values: tuple[float, ...], best: set[int]) -> None:
    found = side_by_side(*(run(f"r{i}", status=succeeded({"test": {metric: v}})) for i, v in enumerate(values)))
    (row,) = found.metrics
    assert (row.values, row.best) == (values, best)


def test_the_test_split_comes_first_and_absent_values_stay_absent() -> None:
    found = side_by_side(
        run(
            "a", status=succeeded({"train": {"mae": 1.0}, "validation": {"mae": 2.0}, "test": {"mae": 3.0, "r2": 0.5}})
        ),
        run("b", status=succeeded({"test": {"mae": 2.5}})),
    )
    assert [(row.split, row.metric, row.values) for row in found.metrics] == [
        ("test", "mae", (3.0, 2.5)),
        ("test", "r2", (0.5, None)),
        ("validation", "mae", (2.0, None)),
        ("train", "mae", (1.0, None)),
    ]


def test_what_to_mind_is_said() -> None:
    other = "sha256:" + "e" * 64
    found = side_by_side(
        run("a", status=succeeded({"test": {"mae": 1.0}}, warnings=["trains on the CPU"])),
        run("b", status=succeeded({"test": {"mae": 2.0}}, dataset=other)),
        run("c", status=training()),
        run("d", status=stalled("GateNotPassed", "mae is 30, gate asks for at most 20")),
        run("e"),
    )
    assert "run a: trains on the CPU" in found.notes
    assert any("different dataset versions" in note for note in found.notes)
    assert "run c has no metrics yet: Running, epoch 3/15: the Job runs" in found.notes
    assert "run d has no metrics yet: GateNotPassed: mae is 30, gate asks for at most 20" in found.notes
    assert "run e has no metrics yet: Pending" in found.notes
    assert side_by_side(run("a", status=succeeded({"test": {"mae": 1.0}}))).notes == ()


def test_metrics_of_different_columns_are_not_of_the_same_thing() -> None:
    def predicting(name: str, target: str, **more: object) -> dict[str, object]:
        return run(
            name, trainer={"boostedRegression": {"target": target}}, status=succeeded({"test": {"mae": 1.0}}), **more
        )

    different = side_by_side(predicting("a", "arr_delay"), predicting("b", "distance"), run("c"))
    assert any("predict different columns (arr_delay, distance)" in note for note in different.notes)
    same = side_by_side(predicting("a", "arr_delay"), predicting("b", "arr_delay"))
    assert same.notes == ()


def test_curves_go_by_name_and_leave_seconds_out() -> None:
    def details(*losses: float) -> Details:
        steps = enumerate(losses, start=1)
        return Details(measurements=tuple(Measurement(step=i, values={"loss": x, "seconds": 0.1}) for i, x in steps))

    found = side_by_side(run("a"), run("b"), run("c"), details=(details(3.0, 2.0), Details(), details(1.0)))
    assert curves(found) == {"loss": [[(1, 3.0), (2, 2.0)], [], [(1, 1.0)]]}


def test_a_run_is_read_as_it_stands() -> None:
    done, going, ended, new = (
        seen(run("a", status=succeeded({"test": {"mae": 1.5, "rmse": 2.0}}))),
        seen(run("b", status=training())),
        seen(run("c", status=stalled("NanLoss", "the loss became nan"))),
        seen(run("d")),
    )
    assert (done.status, done.version, done.seconds, headline(done)) == (
        "Succeeded",
        "delay-v1",
        330.0,
        ("test/mae", 1.5),
    )
    assert done.folder == "s3://tidemill/team/runs/a/uid-a"
    assert (going.status, going.epoch, going.seconds, headline(going)) == ("Running", "3/15", 70.0, None)
    assert (ended.status, ended.seconds, ended.dataset_digest) == ("NanLoss", 7.0, None)
    assert (new.status, new.seconds, new.folder) == ("Pending", None, None)
    assert [r.name for r in by_start([new, going, done, ended])] == ["c", "a", "b", "d"]
    assert list_runs([done, going, ended, new]).splitlines() == [
        "NAME   MODEL   VERSION    DATASET                STATUS         METRIC         DURATION   STARTED",
        "a      delay   delay-v1   flights@dddddddddddd   Succeeded      test/mae 1.5   5m 30s     2026-01-01T10:00:00Z",
        "b      delay   -          flights@dddddddddddd   Running 3/15   -              1m 10s     2026-01-01T11:00:00Z",
        "c      delay   -          flights                NanLoss        -              7s         2026-01-01T09:00:00Z",
        "d      delay   -          flights                Pending        -              -          -",
    ]


def test_the_table_shows_what_differs_and_stars_the_best() -> None:
    text = comparison_text(
        side_by_side(
            run("first", trainer=network(learningRate=0.01), status=succeeded({"test": {"mae": 12.0114, "r2": 0.5}})),
            run("second", trainer=network(learningRate=0.003), status=succeeded({"test": {"mae": 11.6903, "r2": 0.6}})),
        )
    )
    assert text.splitlines() == [
        "                  first                  second",
        "status            Succeeded              Succeeded",
        "model version     delay-v1               delay-v1",
        "dataset version   flights@dddddddddddd   flights@dddddddddddd",
        "artifact          aaaaaaaaaaaa           aaaaaaaaaaaa",
        "duration          5m 30s                 5m 30s",
        "",
        "PARAMETERS (1 differ, 4 are the same)",
        "learningRate      0.01                   0.003",
        "",
        "METRICS (* is best)",
        "test/mae          12.0114                11.6903 *",
        "test/r2           0.5                    0.6 *",
    ]


def test_the_document_is_json_and_the_same_every_time() -> None:
    objects = [run("a", status=succeeded({"test": {"mae": 2.0}})), run("b", status=succeeded({"test": {"mae": 1.0}}))]
    first, second = (json.dumps(document(side_by_side(*objects))) for _ in range(2))
    assert first == second
    read = json.loads(first)
    assert [r["name"] for r in read["runs"]] == ["a", "b"]
    assert read["runs"][0]["datasetDigest"] == DIGEST
    assert read["metrics"] == [
        {"split": "test", "metric": "mae", "values": [2.0, 1.0], "intervals": [None, None], "best": ["b"]}
    ]
    assert {"name": "epochs", "values": [15, 15], "differs": False} not in read["parameters"], "only what the spec has"


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "-"), (0, "0s"), (59.6, "1m 0s"), (3600, "1h 0m 0s"), (90061, "25h 1m 1s")]
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_scalars() -> None:
    assert [scalar(v) for v in (None, True, 3, 0.001, 1e-9, "a")] == ["-", "true", "3", "0.001", "1e-09", "a"]
