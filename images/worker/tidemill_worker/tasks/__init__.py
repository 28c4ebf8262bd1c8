"""One task a file. Modules are imported on demand: only training needs torch, only exports need OpenVINO."""

from __future__ import annotations

from importlib import import_module

from tidemill.contract.results import Result
from tidemill.contract.tasks import Task
from tidemill_worker.context import Context

_MODULES = {
    "PrepareDataset": "prepare_dataset",
    "PruneDataset": "prune_dataset",
    "TrainModel": "train_model",
    "TrainLanguageModel": "train_language_model",
    "SearchModel": "search_model",
    "FetchDataset": "fetch_dataset",
    "PublishModel": "publish_model",
    "WatchTraining": "watch_training",
    "VerifyModel": "verify_model",
    "OptimiseModel": "optimise_model",
    "ExportModel": "export_model",
    "ScoreBatch": "score_batch",
    "PublishEdge": "publish_edge",
    "CompareModels": "compare_models",
    "EvaluateModel": "evaluate_model",
}


def run(task: Task, context: Context) -> Result:
    """Do the task: every module has `run(task, context)`."""
    module = import_module(f"tidemill_worker.tasks.{_MODULES[task.type]}")
    result: Result = module.run(task, context)
    return result
