"""Trials that come to no good end: that diverge, do not fit, or take their pods with them."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tidemill.contract.reasons import FailureReason
from tidemill.contract.searching import Search
from tidemill_worker.errors import Terminated, TrainingDiverged
from tidemill_worker.search.trials import Trials, Unfit, best

from .lab import Lab
from .test_search import bowl, search, trials


def test_a_diverged_trial_is_not_the_end_of_the_search_but_all_of_them_are(lab: Lab) -> None:
    def some(number: int, values: dict[str, Any], report: Any) -> float:
        if number % 2:
            raise TrainingDiverged("the loss became nan")
        return bowl(number, values, report)

    mixed = trials(lab, search(trials=6), objective=some)
    mixed.work()
    assert [t.state for t in mixed.study.trials] == [TrialState.COMPLETE, TrialState.FAIL] * 3
    assert best(mixed.study).number % 2 == 0

    def never(*_: Any) -> float:
        raise TrainingDiverged("the loss became nan")

    hopeless = trials(lab, search(trials=3), objective=never, folder="never")
    hopeless.work()
    with pytest.raises(
        TrainingDiverged, match="none of 3 trials came to an end; the first failed with: the loss became nan"
    ):
        best(hopeless.study)


class Killed(BaseException):
    """The pod is gone, and with it whoever could have said so."""


def until_done(lab: Lab, wish: Search, objective: Any) -> tuple[Trials, int]:
    """One pod after the other, and how many were lost."""
    for lost in range(8):
        pod = trials(lab, wish, objective=objective)
        try:
            pod.work()
        except Killed:
            continue
        return pod, lost
    raise AssertionError("every pod was lost")


class Deadly:
    """Bowl, but the pod dies in one trial each time that it begins, `progress` epochs later than the time before."""

    def __init__(self, victim: int, times: int, progress: int) -> None:
        self.victim, self.times, self.progress, self.calls = victim, times, progress, list[int]()

    def __call__(self, number: int, values: dict[str, Any], report: Any) -> float:
        self.calls.append(number)
        begun = self.calls.count(number)
        for epoch in range(1, self.progress * begun + 1):
            report(epoch, 1.0)
        if number == self.victim and begun <= self.times:
            raise Killed
        return bowl(number, values, report)


def test_a_trial_that_kills_its_pods_is_given_up_and_the_others_go_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network too large for the memory: the kernel kills each pod that tries it, and a Job allows few failures."""
    real = optuna.Trial.set_user_attr
    monkeypatch.setattr(
        optuna.Trial, "set_user_attr", lambda trial, key, value: None if value is False else real(trial, key, value)
    )  # SIGKILL leaves no time to say goodbye
    deadly = Deadly(3, times=99, progress=0)
    pod, lost = until_done(lab, search(), deadly)
    assert (lost, deadly.calls.count(3)) == (2, 2)
    states = [t.state for t in pod.study.trials]
    assert states == [TrialState.COMPLETE] * 3 + [TrialState.FAIL] + [TrialState.COMPLETE] * 4
    said = pod.study.trials[3].user_attrs["message"]
    assert "two pods were killed in its epoch 1" in said
    assert "raise spec.resources.memory" in said


def test_a_trial_that_gets_on_between_two_lost_pods_is_not_given_up(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = optuna.Trial.set_user_attr
    monkeypatch.setattr(
        optuna.Trial, "set_user_attr", lambda trial, key, value: None if value is False else real(trial, key, value)
    )
    pod, lost = until_done(lab, search(), Deadly(3, times=5, progress=2))
    assert lost == 5
    assert {t.state for t in pod.study.trials} == {TrialState.COMPLETE}


def test_a_pod_that_is_told_to_end_speaks_for_no_trial_that_kills(lab: Lab) -> None:
    """Without the patch of the tests above: whoever ends by an exception can say so."""
    deadly = Deadly(3, times=5, progress=0)
    pod, lost = until_done(lab, search(), deadly)
    assert lost == 5
    assert {t.state for t in pod.study.trials} == {TrialState.COMPLETE}


def test_what_cannot_be_trained_fails_its_trial_and_gives_the_reason_when_all_do(lab: Lab) -> None:
    def too_large(*_: Any) -> float:
        raise Unfit("no memory", reason=FailureReason.OUT_OF_MEMORY)

    hopeless = trials(lab, search(trials=3), objective=too_large)
    hopeless.work()
    with pytest.raises(
        TrainingDiverged, match="none of 3 trials came to an end; the first failed with: no memory"
    ) as caught:
        best(hopeless.study)
    assert caught.value.reason == "OutOfMemory"


def test_an_epoch_that_is_told_again_counts_once(lab: Lab) -> None:
    """A pod that resumes tells the last stored epoch: the one before it may have died before it could."""
    calls: list[int] = []

    def objective(number: int, _values: dict[str, Any], report: Any) -> float:
        calls.append(number)
        for epoch in (1, 2) if calls == [0, 1] else (2, 3):
            report(epoch, 0.5)
        if calls == [0, 1]:
            raise Terminated
        return 0.0

    with pytest.raises(Terminated):
        trials(lab, search(trials=3), objective=objective).work()
    resumed = trials(lab, search(trials=3), objective=objective)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna's, of a step that is reported already
        resumed.work()
    assert [list(t.intermediate_values) for t in resumed.study.trials] == [[2, 3], [1, 2, 3], [2, 3]]
