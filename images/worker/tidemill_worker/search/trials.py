"""The trials of a search: each pod asks the shared study for one after the other until there are enough.

A trial belongs to the pod's place in the Indexed Job (its completion index), not to the pod: one that is made anew takes up
the trial that its predecessor left unfinished, with the same parameters and from its checkpoint. What a sampler draws depends
on the seed, the trial's number and the trials before it, and so a search by one pod gives the same result however often it is
killed.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from tidemill.contract.reasons import FailureReason
from tidemill.contract.searching import Search
from tidemill_worker import log
from tidemill_worker.errors import InvalidSpec, TaskError, TrainingDiverged
from tidemill_worker.search.journal import StoreJournal

WORKER, MESSAGE, REASON = "worker", "message", "reason"
"""A trial's attributes: the pod's place in the Job; why it failed, in words and as a constant."""
TRAINING, KILLED = "training", "killed"
"""Whether a pod is at it, which only one that is killed leaves true; and after how many epochs a pod was killed."""
ORPHANED_SECONDS = 60.0
"""A trial that belongs to nobody after so long: its pod died between taking and marking it."""
MOST_COMBINATIONS = 100_000
_POLL_SECONDS = 2.0
_UNFINISHED = (TrialState.RUNNING, TrialState.WAITING)


class Pruned(Exception):
    """The trial is not worth going on with."""


class Unfit(TrainingDiverged):
    """The trial's parameters cannot be trained: too large for the memory, or for a file. Others may be."""


class Objective(Protocol):
    """Trains what a trial draws."""

    def __call__(self, trial: optuna.Trial, report: Callable[[int, float], None], /) -> float:
        """The metric. Draws the trial's parameters first: of one that is taken up again they are the same.

        Calls `report(epoch, loss)` after each epoch, which raises Pruned. Raises TrainingDiverged, and Unfit.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """One pod's part of a search."""

    study: optuna.Study
    search: Search
    worker: int
    objective: Objective
    check: Callable[[], None]
    """Raises when the process should end."""
    told: Callable[[optuna.Study], None] = lambda _: None
    """Called after every trial."""
    now: Callable[[], datetime] = datetime.now
    """Local time, as Optuna notes it."""

    def work(self) -> None:
        """Make trials until there are enough. Raises what `check` raises, with the trial left for the next pod."""
        for left in self._left():
            log.info("taking up a trial", trial=left.number)
            self._take_up(optuna.Trial(self.study, left._trial_id), left)
        while len(self.study.trials) < wanted(self.search) and not self._over():
            self.check()
            self.study.sampler = sampler(self.search, len(self.study.trials))
            trial = self.study.ask()
            if trial.number >= wanted(self.search):  # another pod took the last one meanwhile
                self.study.tell(trial, state=TrialState.FAIL)
                return
            trial.set_user_attr(WORKER, self.worker)
            self._finish(trial)

    def settle(self) -> None:
        """Wait until the other pods' trials have ended too, and give up those that belong to nobody."""
        while running := [t for t in self.study.trials if t.state in _UNFINISHED]:
            self.check()
            for trial in running:
                if WORKER not in trial.user_attrs and self._age(trial) > ORPHANED_SECONDS:
                    self.study.tell(trial.number, state=TrialState.FAIL)
            time.sleep(_POLL_SECONDS)

    def _left(self) -> list[FrozenTrial]:
        return [t for t in self.study.trials if t.state in _UNFINISHED and t.user_attrs.get(WORKER) == self.worker]

    def _over(self) -> bool:
        limit = self.search.timeout_seconds
        first = next(iter(self.study.trials), None)
        return limit is not None and first is not None and self._age(first) >= limit

    def _age(self, trial: FrozenTrial) -> float:
        return (self.now() - trial.datetime_start).total_seconds() if trial.datetime_start else 0.0

    def _take_up(self, trial: optuna.Trial, left: FrozenTrial) -> None:
        """Go on with it, unless it has killed two pods without an epoch in between: it would kill all that come after them."""
        epochs = len(left.intermediate_values)
        killed = bool(left.user_attrs.get(TRAINING))
        if killed and left.user_attrs.get(KILLED) == epochs:
            self._fail(
                trial,
                Unfit(
                    f"two pods were killed in its epoch {epochs + 1}: most likely the memory did not suffice; raise "
                    "spec.resources.memory, or search smaller models",
                    reason=FailureReason.OUT_OF_MEMORY,
                ),
            )
            self.told(self.study)
            return
        if killed:
            trial.set_user_attr(KILLED, epochs)
        self._finish(trial)

    def _finish(self, trial: optuna.Trial) -> None:
        self.study.sampler = sampler(self.search, trial.number)
        trial.set_user_attr(TRAINING, True)
        reported = set(self.study.trials[trial.number].intermediate_values)

        def report(epoch: int, loss: float) -> None:
            # Pruners compare with the study's direction; a loss is always to be low.
            if epoch not in reported:  # a pod that resumes tells the last epoch again
                trial.report(-loss if self.study.direction == optuna.study.StudyDirection.MAXIMIZE else loss, epoch)
            if trial.should_prune():
                raise Pruned

        try:
            value = self.objective(trial, report)
        except Pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        except TrainingDiverged as error:
            self._fail(trial, error)
        except BaseException:
            with suppress(TaskError):  # a store that is gone may be why it ends
                trial.set_user_attr(TRAINING, False)
            raise
        else:
            self.study.tell(trial, value)
        self.told(self.study)

    def _fail(self, trial: optuna.Trial, error: TrainingDiverged) -> None:
        trial.set_user_attr(MESSAGE, error.message)
        trial.set_user_attr(REASON, str(error.reason))
        self.study.tell(trial, state=TrialState.FAIL)


def open_study(journal: StoreJournal, search: Search, *, maximize: bool) -> optuna.Study:
    """The study of this journal: a new one, or what other pods and those before have made of it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(journal),
        study_name="search",
        direction="maximize" if maximize else "minimize",
        pruner=_pruner(search),
        load_if_exists=True,
    )


def wanted(search: Search) -> int:
    """How many trials are made: a grid has no more than its combinations. Raises InvalidSpec when it has endlessly many."""
    return search.trials if search.sampler != "Grid" else min(search.trials, len(_combinations(search)))


def sampler(search: Search, number: int) -> BaseSampler:
    """For one trial."""
    seed = (search.seed * 1_000_003 + number) % (1 << 32)
    if search.sampler == "Random":
        return RandomSampler(seed=seed)
    if search.sampler == "Grid":
        return _Combination(_combinations(search)[number])
    return TPESampler(
        seed=seed, n_startup_trials=min(10, max(3, search.trials // 4)), constant_liar=search.parallel > 1
    )


class _Combination(BaseSampler):
    """Draws what it was given. Optuna's own GridSampler wants to end the study itself, which it can inside `optimize` only."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        del study, trial  # Optuna's signature, here and below
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        del study, trial, search_space
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        del study, trial, param_distribution
        return self._values[param_name]


def _combinations(search: Search) -> list[dict[str, Any]]:
    names, values = [], list[Sequence[Any]]()
    for parameter in search.parameters:
        if parameter.float_ is not None:
            where = f"spec.search.parameters[{parameter.name}].float"
            raise InvalidSpec(f"{where}: a grid needs choices: write the numbers to try as choices", field=where)
        names.append(parameter.name)
        whole = parameter.int_
        values.append(range(whole.min, whole.max + 1) if whole is not None else parameter.choices or ())
    if math.prod(map(len, values)) > MOST_COMBINATIONS:
        where = "spec.search.parameters"
        raise InvalidSpec(
            f"{where}: the grid has {math.prod(map(len, values))} combinations, more than {MOST_COMBINATIONS}: take another "
            "sampler, or fewer values",
            field=where,
        )
    return [dict(zip(names, combination, strict=True)) for combination in itertools.product(*values)]


def _pruner(search: Search) -> optuna.pruners.BasePruner:
    if search.pruner == "Hyperband":
        return optuna.pruners.HyperbandPruner()
    if search.pruner == "Median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    return optuna.pruners.NopPruner()


def best(study: optuna.Study) -> FrozenTrial:
    """The best complete trial; of equals the first. Raises TrainingDiverged when none is complete."""
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    if not complete:
        first = next((t.user_attrs for t in study.trials if MESSAGE in t.user_attrs), {})
        said = f"; the first failed with: {first[MESSAGE]}" if first else ""
        raise TrainingDiverged(
            f"none of {len(study.trials)} trials came to an end{said}",
            field="spec.search.parameters",
            reason=FailureReason(first[REASON]) if REASON in first else None,
        )
    return next(iter(ranked(study)))


def ranked(study: optuna.Study) -> Iterator[FrozenTrial]:
    """Complete trials, best first."""
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE and t.value is not None]
    yield from sorted(complete, key=lambda t: (sign * (t.value or 0.0), t.number))
