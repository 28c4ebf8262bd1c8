"""TrainingRun: one training, from a dataset version to a model version."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from tidemill.api.base import AGE_COLUMN, READY_COLUMNS, Column, Digest, Names, ObjectName, Resource, Status, Time
from tidemill.api.v1alpha1.common import JobOptions, NodePlacement, Resources, VersionReference
from tidemill.api.v1alpha1.modelversion import ModelTemplate
from tidemill.api.v1alpha1.trainer import Trainer
from tidemill.contract.base import Document
from tidemill.contract.checkpoint import Checkpoint
from tidemill.contract.distribution import Distribution
from tidemill.contract.evaluating import EvaluationOptions
from tidemill.contract.gates import (
    CLASSIFICATION_METRICS,
    FAIRNESS_MEASURES,
    FORECAST_METRICS,
    LANGUAGE_METRICS,
    PREFERENCE_METRICS,
    REGRESSION_METRICS,
    Gate,
)
from tidemill.contract.markers import cel, immutable, list_atomic, rules
from tidemill.contract.results import Progress, SearchSummary
from tidemill.contract.searching import Search
from tidemill.contract.tracking import Tracking


class DatasetReference(Document):
    """The Dataset to train on: the version that is newest when the run starts, or a fixed one."""

    name: ObjectName
    """A Dataset of the same namespace."""
    digest: Digest | None = None
    """A fixed version; without it the newest one."""


REGRESSIONS = ("tabularRegression", "boostedRegression", "autoRegression")
CLASSIFICATIONS = (
    "tabularClassification", "boostedClassification", "imageClassification", "autoClassification", "textClassification",
)  # fmt: skip
"""Trainers whose task their name tells; what a user's own code does stands in it, and the worker refuses what does not fit."""
OWN_CODE = ("container", "script")
DISTRIBUTED = ("tabularRegression", "tabularClassification", *OWN_CODE)
FORECASTS, IMAGES = ("forecasting",), ("imageClassification",)
BOOSTED = ("boostedRegression", "boostedClassification", *FORECASTS)
LANGUAGE = ("languageModel", "preference")
TRANSFORMERS = ("textClassification", *LANGUAGE)


def _is(trainers: tuple[str, ...]) -> str:
    """CEL: the trainer is one of these."""
    return "(" + " || ".join(f"has(self.trainer.{name})" for name in trainers) + ")"


def _fits(trainers: tuple[str, ...], rule: str, message: str, *, field: str) -> dict[str, Any]:
    """What must hold of the evaluation when the trainer is one of these."""
    return cel(f"!{_is(trainers)} || !has(self.evaluation) || {rule}", message, field=f".evaluation{field}")


_NO_LABEL_ASKED = (
    "(!has(self.evaluation.fairness) && !has(self.evaluation.threshold) && !has(self.evaluation.compareWith))"
)
"""CEL: of the evaluation, nothing that is measured of rows with a label."""


def _gates(trainers: tuple[str, ...], metrics: tuple[str, ...], kind: str) -> dict[str, Any]:
    """A built-in trainer's model is judged by its own metrics; the `metrics.json` of a user's own code may bring others."""
    return cel(
        f"!{_is(trainers)} || !has(self.gates) || self.gates.all(g, g.metric in {list(metrics)})",
        f"a gate on a {kind} must name one of its metrics: {', '.join(metrics)}",
        field=".gates",
    )


class TrainingRunSpec(Document):
    """What is trained on what. Dataset, trainer and model cannot change once the run exists: a run is a record.

    When it has ended, well or not, it is never tried again and edits have no effect. A built-in trainer whose pod is lost
    goes on from its checkpoint. Code of your own finds what it left in `$TIDEMILL_CHECKPOINT`, and trains from its start in
    every new pod if it keeps nothing there. Once it has trained, a store that does not answer is waited for up to a day.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                f"!{_is(OWN_CODE)} || !has(self.checkpoint)",
                "checkpoint has no effect on code of your own: it decides itself when it writes to $TIDEMILL_CHECKPOINT",
                field=".checkpoint",
            ),
            cel("has(self.checkpoint) == has(oldSelf.checkpoint)", "checkpoint is immutable: create a new object instead",
                field=".checkpoint"),
            cel(
                f"!{_is(OWN_CODE)} || !has(self.tracking)",
                "tracking has no effect on code of your own: it logs by itself, with what env and envFromSecret give it",
                field=".tracking",
            ),
            cel("has(self.tracking) == has(oldSelf.tracking)", "tracking is immutable: create a new object instead",
                field=".tracking"),
            cel("has(self.search) == has(oldSelf.search)", "search is immutable: create a new object instead",
                field=".search"),
            cel(f"!has(self.search) || !{_is((*OWN_CODE, 'autoRegression', 'autoClassification'))}",
                "search varies the fields of a built-in trainer: your own code searches by itself, an automatic trainer anyway",
                field=".search"),
            cel(f"!has(self.distribution) || {_is(DISTRIBUTED)}", "several processes train networks and your own code only",
                field=".distribution"),
            cel(f"!has(self.distribution) || !{_is(OWN_CODE)} || self.distribution.strategy == 'DDP'",
                "strategy has no effect on code of your own, which decides itself", field=".distribution.strategy"),
            cel("!has(self.distribution) || !has(self.search)",
                "a search trains each model in one pod, several at once with search.parallel", field=".distribution"),
            cel(f"!has(self.search) || !{_is(TRANSFORMERS)}",
                "search trains many models, which transformers are too dear for: compare a few runs instead",
                field=".search"),
            cel(f"!{_is(TRANSFORMERS)} || !has(self.evaluation) || self.evaluation.explain.method != 'SHAP'",
                "SHAP tells the shares of columns, and a text is one column", field=".evaluation.explain.method"),
            _fits(LANGUAGE, _NO_LABEL_ASKED,
                "a language model has no label to be judged by: fairness, threshold and compareWith have no effect",
                field=""),
            cel(f"!{_is(TRANSFORMERS)} || !has(self.model.optimise) || self.model.optimise.size() == 0",
                "variants are measured on columns, and this model takes tokens: optimise has no effect",
                field=".model.optimise"),
            cel(f"!{_is(TRANSFORMERS)} || !has(self.model.export) || self.model.export.size() == 0",
                "exports are compared on columns, and this model takes tokens: export has no effect", field=".model.export"),
            cel("has(self.queueName) == has(oldSelf.queueName)", "queueName is immutable: create a new object instead",
                field=".queueName"),
            _gates(REGRESSIONS, REGRESSION_METRICS, "regression"),
            _gates(FORECASTS, FORECAST_METRICS, "forecast"),
            _gates(CLASSIFICATIONS, (*CLASSIFICATION_METRICS, *FAIRNESS_MEASURES), "classification"),
            _gates(("languageModel",), LANGUAGE_METRICS, "language model"),
            _gates(("preference",), PREFERENCE_METRICS, "tuning by preferences"),
            cel("!has(self.gates) || self.gates.all(g, !has(g.slice) || "
                "(has(self.evaluation) && has(self.evaluation.slices) && g.slice.column in self.evaluation.slices))",
                "a gate on a slice must name a column of evaluation.slices", field=".gates"),
            cel("!has(self.gates) || self.gates.all(g, !has(g.group) || "
                "(has(self.evaluation) && has(self.evaluation.fairness) && g.group in self.evaluation.fairness.groups))",
                "a gate on a fairness measure must name a column of evaluation.fairness.groups", field=".gates"),
            _fits(REGRESSIONS + FORECASTS, "!has(self.evaluation.threshold)", "a regression has no threshold",
                field=".threshold"),
            _fits(FORECASTS, "!has(self.evaluation.fairness)", "the fairness of a forecast is not measured",
                field=".fairness"),
            _fits(FORECASTS, "!has(self.evaluation.slices) || self.evaluation.slices.all(c, "
                "has(self.trainer.forecasting.series) && c in self.trainer.forecasting.series)",
                "the windows of a forecast are told apart by the columns of its series", field=".slices"),
            _fits(FORECASTS + IMAGES, "!has(self.evaluation.explain) || self.evaluation.explain.method != 'SHAP'",
                "Shapley values are shares of columns in one number: a picture is one column, a forecast many numbers",
                field=".explain.method"),
            _fits(REGRESSIONS, "!has(self.evaluation.fairness) || !has(self.evaluation.fairness.favorable)",
                "favorable has no effect on a regression, which has no classes", field=".fairness.favorable"),
            _fits(CLASSIFICATIONS, "!has(self.evaluation.fairness) || has(self.evaluation.fairness.favorable)",
                "the fairness of a classification needs favorable, the class that is good to get", field=".fairness"),
            cel(f"{_is(OWN_CODE)} || !has(self.resources.gpu) || self.resources.gpu.count == "
                "(has(self.distribution) ? self.distribution.processesPerNode : 1)",
                "the built-in trainers use one GPU a process (distribution.processesPerNode): more would only be held",
                field=".resources.gpu.count"),
            cel(f"!{_is(BOOSTED)} || !has(self.resources.gpu)",
                "boosted trees are trained on CPUs: a GPU would only be held", field=".resources.gpu"),
            cel(f"!{_is(BOOSTED)} || !has(self.model.optimise) || self.model.optimise.size() == 0",
                "trees have no matrices that could be quantized: optimise has no effect", field=".model.optimise"),
            cel(f"!{_is(BOOSTED)} || !has(self.model.export) || self.model.export.size() == 0",
                "OpenVINO has no operator for trees: take a network for the edge", field=".model.export"),
        )
    )  # fmt: skip

    dataset: Annotated[DatasetReference, Field(json_schema_extra=rules(immutable("dataset")))]
    model: Annotated[ModelTemplate, Field(json_schema_extra=rules(immutable("model")))]
    trainer: Annotated[Trainer, Field(json_schema_extra=rules(immutable("trainer")))]
    checkpoint: Annotated[Checkpoint | None, Field(json_schema_extra=rules(immutable("checkpoint")))] = None
    gates: Annotated[
        tuple[Gate, ...],
        Field(max_length=16, json_schema_extra=rules(immutable("gates"), x_kubernetes_list_type="atomic")),
    ] = ()
    """Bounds that the trained model must keep."""
    evaluation: Annotated[EvaluationOptions, Field(json_schema_extra=rules(immutable("evaluation")))] = (
        EvaluationOptions()
    )
    tracking: Annotated[Tracking | None, Field(json_schema_extra=rules(immutable("tracking")))] = None
    search: Annotated[Search | None, Field(json_schema_extra=rules(immutable("search")))] = None
    distribution: Distribution | None = None
    """One process by default. As resources, it can be changed until the Job has started."""
    resources: Resources = Resources(cpu="1", memory="2Gi")
    placement: NodePlacement = NodePlacement()
    job: JobOptions = JobOptions()
    suspend: bool = False
    """The Job is created suspended, or suspended while it runs; with a queue, Kueue decides instead."""
    queue_name: Annotated[ObjectName | None, Field(json_schema_extra=rules(immutable("queueName")))] = None
    """A Kueue LocalQueue: the Job carries its label and starts suspended until Kueue admits it."""


class TrainingRunStatus(Status):
    """Where the run is. Condition types: Ready, Reconciling, Stalled."""

    dataset_digest: Digest | None = None
    """Digest of the version that is trained on."""
    dataset_uri: str | None = None
    """The version that is trained on, fixed when the run starts."""
    job_name: str | None = None
    """The Job that trains."""
    attempts: int = 0
    """Pods that were started."""
    code: str | None = None
    """What a script's run runs: the digest of the ConfigMap's file as its first pod saw it, or the commit."""
    progress: Progress | None = None
    """What the running Job said last."""
    search: SearchSummary | None = None
    """How the search stands or ended, of a run that tries several models."""
    metrics: dict[str, dict[str, float]] = {}
    """By split and metric, when the run has finished."""
    artifact_uri: str | None = None
    """The model artifact's folder in the store."""
    artifact_digest: Digest | None = None
    """Digest of its manifest."""
    model_version: VersionReference | None = None
    """The ModelVersion that the run left."""
    started_at: Time | None = None
    """When the Job was made."""
    finished_at: Time | None = None
    """When it ended."""
    warnings: tuple[str, ...] = Field(default=(), max_length=10, json_schema_extra=list_atomic())
    """What should be looked at although the run goes on."""


class TrainingRun(Resource[TrainingRunSpec, TrainingRunStatus]):
    """A TrainingRun trains one model on one dataset version by a Job, and leaves a ModelVersion."""

    NAMES: ClassVar[Names] = Names(
        kind="TrainingRun",
        plural="trainingruns",
        singular="trainingrun",
        short=("tmrun",),
        columns=(
            *READY_COLUMNS,
            Column("Model", ".spec.model.name"),
            Column("Version", ".status.modelVersion.version", "integer"),
            Column("Epoch", ".status.progress.epoch", "integer"),
            Column("Loss", ".status.progress.loss", "number", priority=1),
            AGE_COLUMN,
        ),
    )
    status: TrainingRunStatus = TrainingRunStatus()
