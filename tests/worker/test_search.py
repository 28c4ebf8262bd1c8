"""A study that pods share through a real store: nothing lost, nothing twice, the same result however often a pod is killed."""

from __future__ import annotations

import json
import math
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tidemill.contract.searching import Search
from tidemill.contract.trainers.network import TabularTrainer
from tidemill_worker.errors import InvalidSpec, Terminated, TrainingDiverged
from tidemill_worker.search import report, space
from tidemill_worker.search.journal import StoreJournal
from tidemill_worker.search.trials import Trials, best, open_study, ranked, wanted

from .lab import Lab

RANGE = {"name": "learningRate", "float": {"min": 0.001, "max": 1.0, "log": True}}
LAYERS = {"name": "hiddenLayers", "choices": ["[8]", "[64, 32]"]}


def search(**more: Any) -> Search:
    return Search.model_validate(
        {"metric": "rmse", "parameters": [RANGE, LAYERS], "trials": 8, "pruner": "None", **more}
    )


def bowl(_number: int, values: dict[str, Any], _report: Any) -> float:
    """Least at a learning rate of 0.1 and two layers."""
    return abs(math.log10(values["learningRate"]) + 1) + (0.0 if len(values["hiddenLayers"]) == 2 else 0.5)


def trials(
    lab: Lab, wish: Search, *, objective: Any = bowl, folder: str = "journal", maximize: bool = False, **more: Any
) -> Trials:
    study = open_study(StoreJournal(lab.context().store, f"{lab.root}/{folder}"), wish, maximize=maximize)

    def drawing(trial: optuna.Trial, report: Any) -> float:
        return float(objective(trial.number, space.suggest(trial, wish), report))

    return Trials(**{"study": study, "search": wish, "worker": 0, "objective": drawing, "check": lambda: None, **more})


def drawn(study: optuna.Study) -> list[tuple[dict[str, Any], float | None]]:
    return [(t.params, t.value) for t in study.trials]


def test_writers_that_race_lose_nothing(lab: Lab) -> None:
    def write(name: str) -> None:
        journal = StoreJournal(lab.context().store, f"{lab.root}/race")
        for number in range(10):
            journal.append_logs([{"by": name, "number": number}, {"by": name, "number": -number}])

    writers = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    journal = StoreJournal(lab.context().store, f"{lab.root}/race")
    found = journal.read_logs(0)
    assert len(found) == 4 * 10 * 2
    for name in "abcd":
        own = [entry["number"] for entry in found if entry["by"] == name]
        assert own == [sign * number for number in range(10) for sign in (1, -1)], "out of order, lost, or twice"
    assert journal.read_logs(78) == found[78:]


def test_an_append_whose_answer_was_lost_is_not_written_twice(lab: Lab) -> None:
    store = lab.context().store
    journal = StoreJournal(store, f"{lab.root}/lost")
    real = store.put_if_absent

    def deaf(uri: str, body: bytes, **more: Any) -> bool:
        real(uri, body, **more)
        return real(uri, body, **more)  # what a client does that sends again: it meets its own object

    store.put_if_absent = deaf  # type: ignore[method-assign]
    journal.append_logs([{"x": 1}])
    journal.append_logs([{"x": 2}])
    assert StoreJournal(lab.context().store, f"{lab.root}/lost").read_logs(0) == [{"x": 1}, {"x": 2}]


def test_a_search_finds_what_is_good_and_again_the_same(lab: Lab) -> None:
    first = trials(lab, search(trials=20))
    first.work()
    assert len(first.study.trials) == 20
    assert best(first.study).params["hiddenLayers"] == "[64, 32]"
    assert best(first.study).value == min(t.value for t in first.study.trials if t.value is not None)
    values = [t.value for t in ranked(first.study)]
    assert values == sorted(values)  # type: ignore[type-var]
    second = trials(lab, search(trials=20), folder="again")
    second.work()
    assert drawn(second.study) == drawn(first.study)


@pytest.mark.parametrize("killed_in", [0, 3, 7])
def test_a_killed_pods_successor_takes_up_its_trial_and_the_result_is_the_same(lab: Lab, killed_in: int) -> None:
    calls: list[tuple[int, dict[str, Any]]] = []

    def mortal(number: int, values: dict[str, Any], report: Any) -> float:
        calls.append((number, values))
        if number == killed_in and sum(n == number for n, _ in calls) == 1:
            raise Terminated
        return bowl(number, values, report)

    first = trials(lab, search(), objective=mortal)
    with pytest.raises(Terminated):
        first.work()
    assert first.study.trials[-1].state == TrialState.RUNNING
    second = trials(lab, search(), objective=mortal)
    second.work()
    second.settle()
    again = [values for number, values in calls if number == killed_in]
    assert len(again) == 2
    assert again[0] == again[1], "the successor drew other parameters"
    assert [n for n, _ in calls] == [*range(killed_in + 1), *range(killed_in, 8)]
    undisturbed = trials(lab, search(), folder="undisturbed")
    undisturbed.work()
    assert drawn(second.study) == drawn(undisturbed.study)


def test_pods_share_the_trials_and_make_just_enough(lab: Lab) -> None:
    wish = search(trials=12, parallel=3)
    made: list[tuple[int, int]] = []
    start = threading.Barrier(3)

    def run(worker: int) -> None:
        def note(number: int, values: dict[str, Any], report: Any) -> float:
            made.append((worker, number))
            return bowl(number, values, report)

        mine = trials(lab, wish, worker=worker, objective=note)
        start.wait()
        mine.work()
        mine.settle()

    pods = [threading.Thread(target=run, args=(worker,)) for worker in range(3)]
    for pod in pods:
        pod.start()
    for pod in pods:
        pod.join()
    assert sorted(number for _, number in made) == list(range(12)), "each trial once"
    study = trials(lab, wish).study
    assert sum(t.state == TrialState.COMPLETE for t in study.trials) == 12
    assert all(t.state.is_finished() for t in study.trials)


def test_hopeless_trials_are_pruned_and_a_loss_is_low_in_both_directions(lab: Lab) -> None:
    for maximize in (False, True):
        wish = search(trials=10, pruner="Median", parameters=[RANGE])
        epochs: dict[int, int] = {}

        def objective(number: int, _values: dict[str, Any], report: Any, seen: dict[int, int] = epochs) -> float:
            for epoch in range(1, 11):
                seen[number] = epoch
                report(epoch, 1.0 + number)  # every trial is worse than those before
            return 0.0

        pruned = trials(lab, wish, objective=objective, folder=f"prune-{maximize}", maximize=maximize)
        pruned.work()
        states = [t.state for t in pruned.study.trials]
        assert states[:4] == [TrialState.COMPLETE] * 4
        assert states[4:] == [TrialState.PRUNED] * 6
        assert all(epochs[number] < 10 for number in range(4, 10))
        epochs.clear()


def test_a_summary_names_all_ten_and_has_room_for_their_parameters_only(lab: Lab) -> None:
    many = [{"name": f"parameterNumber{i}", "float": {"min": 0.001, "max": 1.0}} for i in range(32)]
    done = trials(lab, search(trials=12, parameters=many, sampler="Random"), objective=lambda number, *_: float(number))
    done.work()
    found = report.summary(done.study, search(trials=12))
    assert [trial.number for trial in found.best] == list(range(10))
    assert len(found.best[0].parameters) == 32
    assert not found.best[-1].parameters
    assert len(found.to_json()) < 3500


def test_a_grid_tries_each_combination_once(lab: Lab) -> None:
    depth = {"name": "epochs", "int": {"min": 1, "max": 3}}
    wish = search(sampler="Grid", parameters=[LAYERS, depth], trials=100)
    assert wanted(wish) == 6
    grid = trials(lab, wish, objective=lambda _number, values, _report: float(values["epochs"]))
    grid.work()
    assert sorted((t.params["hiddenLayers"], t.params["epochs"]) for t in grid.study.trials) == sorted(
        (layers, epochs) for layers in ("[8]", "[64, 32]") for epochs in (1, 2, 3)
    )
    with pytest.raises(InvalidSpec, match=r"spec.search.parameters\[learningRate\].float: a grid needs choices"):
        wanted(search(sampler="Grid"))


def test_no_trial_begins_after_the_timeout(lab: Lab) -> None:
    wish = search(timeoutSeconds=60)
    late = trials(lab, wish, now=lambda: datetime.now() + timedelta(seconds=61))
    late.study.ask()  # and its pod died before it could say whose it is
    late.work()
    assert len(late.study.trials) == 1
    late.settle()
    assert late.study.trials[0].state == TrialState.FAIL


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ({"name": "depth", "int": {"min": 1, "max": 3}}, "spec.search.parameters: the trainer has no depth; it has "),
        ({"name": "dropout", "float": {"min": 0.0, "max": 1.0}}, "spec.search.parameters: dropout: Input should be less"),
        ({"name": "hiddenLayers", "choices": ["[8]", "wide"]}, "spec.search.parameters: hiddenLayers: Input should be"),
        ({"name": "epochs", "choices": ["3", "0"]}, "spec.search.parameters: epochs: Input should be greater"),
    ],
)  # fmt: skip
def test_what_the_trainer_does_not_take_is_said_before_the_first_trial(parameter: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        space.check(TabularTrainer(target="y"), search(parameters=[parameter]))
    assert str(raised.value).startswith(said)


def test_choices_mean_what_they_say_in_yaml() -> None:
    trainer = space.applied(
        TabularTrainer(target="y"), {"hiddenLayers": [64, 32], "learningRate": 0.5, "loss": "Huber"}
    )
    assert (trainer.hidden_layers, trainer.learning_rate, trainer.loss, trainer.target) == ((64, 32), 0.5, "Huber", "y")


def test_the_report_tells_all_trials_and_what_mattered(lab: Lab, tmp_path: Path) -> None:
    wish = search(trials=16, pruner="Median")

    def objective(number: int, values: dict[str, Any], report: Any) -> float:
        if number == 2:
            raise TrainingDiverged("the loss became nan")
        report(1, float(number % 3))
        report(2, float(number % 3))
        return bowl(number, values, report)

    done = trials(lab, wish, objective=objective)
    done.work()
    report.write(done.study, wish, tmp_path)
    told = json.loads((tmp_path / "trials.json").read_text())
    assert len(told["trials"]) == 16
    assert told["trials"][2] == {
        "number": 2, "state": "FAIL", "value": None, "parameters": told["trials"][2]["parameters"], "losses": [],
        "message": "the loss became nan",
    }  # fmt: skip
    found = report.summary(done.study, wish)
    assert found.trials == 16 == found.complete + found.pruned + found.failed
    assert found.failed == 1
    assert found.best[0].number == best(done.study).number
    assert [t.value for t in found.best] == sorted(t.value for t in found.best)
    assert found.best[0].parameters.keys() == {"learningRate", "hiddenLayers"}
    important = told["importance"]
    assert sum(important.values()) == pytest.approx(1, abs=0.01)
    assert set(important) == {"learningRate", "hiddenLayers"}
    for name in ("history.png", "parameters.png", "importance.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    again = tmp_path / "again"
    again.mkdir()
    report.write(done.study, wish, again)
    assert all((tmp_path / p.name).read_bytes() == p.read_bytes() for p in again.iterdir())
