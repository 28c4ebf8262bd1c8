"""What a search leaves behind: every trial as data, which parameters mattered, and pictures of both."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from tidemill.contract.results import SearchSummary, Trial
from tidemill.contract.searching import Search
from tidemill_worker import log
from tidemill_worker.search.trials import MESSAGE, ranked

TRIALS_FILE = "trials.json"
TOP = 10
_LONGEST_VALUE = 60
_LONGEST_PARAMETERS = 2_000
"""Characters of the best trials' parameters together: a status has room for so many."""
_FEWEST_FOR_IMPORTANCE = 5


def summary(study: optuna.Study, search: Search) -> SearchSummary:
    """How the search stands, with its best ten trials."""
    states = [trial.state for trial in study.trials]
    return SearchSummary(
        metric=search.metric,
        trials=sum(state.is_finished() for state in states),
        complete=states.count(TrialState.COMPLETE),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL),
        best=_bounded([_short(trial) for trial, _ in zip(ranked(study), range(TOP), strict=False)]),
    )


def _bounded(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """All of them, the best ones with their parameters, as far as there is room."""
    left, found = _LONGEST_PARAMETERS, []
    for trial in trials:
        left -= sum(len(name) + len(value) for name, value in trial.parameters.items())
        found.append(trial if left >= 0 else trial.model_copy(update={"parameters": {}}))
    return tuple(found)


def _short(trial: FrozenTrial) -> Trial:
    assert trial.value is not None, "only complete trials are ranked"
    parameters = {name: _text(value)[:_LONGEST_VALUE] for name, value in trial.params.items()}
    return Trial(number=trial.number, value=float(f"{trial.value:.9g}"), parameters=parameters)


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def importances(study: optuna.Study) -> dict[str, float]:
    """How much each parameter decided about being among the best trials (PED-ANOVA, Watanabe et al., IJCAI 2023); the
    sum is 1. Empty with fewer than five complete trials, and when all are equally good."""
    if sum(trial.state == TrialState.COMPLETE for trial in study.trials) < _FEWEST_FOR_IMPORTANCE:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = PedAnovaImportanceEvaluator()
    found = get_param_importances(study, evaluator=evaluator)
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def write(study: optuna.Study, search: Search, folder: Path) -> None:
    """`trials.json`, `history.png`, `parameters.png`, and `importance.png` where there is enough to tell."""
    important = importances(study)
    document = {
        "search": json.loads(search.to_json()),
        "summary": json.loads(summary(study, search).to_json()),
        "importance": important,
        "trials": [_full(trial) for trial in study.trials],
    }
    (folder / TRIALS_FILE).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
        return
    import matplotlib

    matplotlib.use("Agg")
    from optuna.visualization import matplotlib as draw

    pictures: dict[str, Callable[[], Any]] = {
        "history.png": lambda: draw.plot_optimization_history(study, target_name=search.metric),
        "parameters.png": lambda: draw.plot_slice(study, target_name=search.metric),
    }
    if important:
        evaluator = PedAnovaImportanceEvaluator
        pictures["importance.png"] = lambda: draw.plot_param_importances(study, evaluator=evaluator())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for name, make in pictures.items():
            with matplotlib.rc_context(matplotlib.rcParamsDefault):
                _save(make(), folder / name)


def _save(axes: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure = axes.flat[0].figure if hasattr(axes, "flat") else axes.figure
    figure.savefig(path, dpi=100, bbox_inches="tight", metadata={"Software": None})  # equal pictures are equal bytes
    pyplot.close(figure)
    log.info("picture drawn", file=path.name)


def _full(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        "value": trial.value,
        "parameters": trial.params,
        "losses": [abs(value) for _, value in sorted(trial.intermediate_values.items())],
        **({"message": trial.user_attrs[MESSAGE]} if MESSAGE in trial.user_attrs else {}),
    }
