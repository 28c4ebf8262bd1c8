"""DriftPolicy: watch a Deployment's inputs and predictions, and act when they drift from the training data."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from tidemill.api.base import (
    AGE_COLUMN,
    READY_COLUMNS,
    Column,
    Digest,
    Names,
    ObjectName,
    Resource,
    Status,
    Time,
)
from tidemill.api.v1alpha1.common import JobOptions, Resources, VersionReference, WorkerResources
from tidemill.contract.base import Document
from tidemill.contract.durations import Duration
from tidemill.contract.markers import cel, list_atomic, list_map, list_set, rules
from tidemill.contract.sources import LabelSource

DriftMetric = Literal["PSI", "JensenShannon", "MissingRate"]


class Monitor(Document):
    """One score with its threshold."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Names the monitor in status."""
    metric: DriftMetric = "PSI"
    """PSI: population stability index. JensenShannon: distance, 0 to 1. MissingRate: growth of the share of missing values."""
    features: tuple[Annotated[str, Field(max_length=128)], ...] = Field(
        default=(), max_length=256, json_schema_extra=list_set()
    )
    """Features or predictions (`prediction.<output>`) to watch; by default all of them."""
    threshold: float = Field(default=0.2, gt=0)
    """The monitor drifts when the worst feature's score is at least this."""


class RetrainGate(Document):
    """What the challenger must show on the newest labelled rows, which neither model was trained on."""

    metric: Literal["mae", "rmse", "medianAbsoluteError", "accuracy", "f1Macro", "logLoss"] = "mae"
    """The metric by which both models are compared."""
    min_improvement: float = Field(default=0.0, ge=-1, le=1)
    """Relative improvement over the champion that is needed: 0.01 is one per cent."""
    min_confidence: float | None = Field(default=None, ge=0.5, lt=1)
    """Of a thousand resamples of the rows that judge, the share in which the challenger must be better at all: 0.95 promotes
    hardly any that is so by chance alone. By default the improvement alone decides."""
    window_rows: int = Field(default=1000, ge=10)
    """So many newest labelled rows are kept out of training and judge both models."""


class Retrain(Document):
    """How a challenger is made: a new Dataset from the base and the labelled log, and a TrainingRun after the template."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("!has(self.maxLogRows) || self.maxLogRows >= self.gate.windowRows + self.minLabelledRows",
                "maxLogRows must be at least gate.windowRows, which judge both models, plus minLabelledRows",
                field=".maxLogRows"),
        )
    )  # fmt: skip

    template: ObjectName
    """The TrainingRun whose trainer, model, optimisations and resources the challenger takes; not its `gates`, which are
    absolute bounds: the challenger is judged by `gate`, beside the champion on the same rows."""
    base: ObjectName | None = None
    """A Dataset to which the labelled log is appended; without it the log alone is trained on."""
    labels: LabelSource
    max_log_rows: int | None = Field(default=None, ge=100)
    """Only so many of the newest labelled rows of the log; at least the gate's windowRows plus minLabelledRows."""
    min_labelled_rows: int = Field(default=100, ge=1)
    """Fewer labelled rows than this (beyond the gate's window) fail the attempt as DatasetEmpty would."""
    gate: RetrainGate = RetrainGate()
    approval: Literal["Auto", "Manual"] = "Auto"
    """Manual: a challenger that passed waits for `spec.approval.approvedBy` on its ModelVersion."""
    resources: WorkerResources = Resources()
    """Of the prepare and comparison Jobs."""
    job: JobOptions = JobOptions()


class Action(Document):
    """What drift sets off."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("self.type != 'Retrain' || has(self.retrain)", "type Retrain needs retrain", field=".retrain"),
            cel("self.type == 'Retrain' || !has(self.retrain)", "retrain has no effect unless type is Retrain",
                field=".retrain"),
        )
    )  # fmt: skip

    type: Literal["Alert", "Retrain"] = "Alert"
    """Alert: conditions, events and metrics only. Retrain: a challenger is trained and, if better, promoted."""
    retrain: Retrain | None = None


class DriftPolicySpec(Document):
    """What is watched, when it counts as drift, and what is done."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel("duration(self.interval) >= duration('1s')", "interval must be at least 1s", field=".interval"),
            cel("duration(self.window) >= duration(self.interval)", "window must be at least as long as interval",
                field=".window"),
        )
    )  # fmt: skip

    deployment: ObjectName
    """An online Deployment of the same namespace."""
    monitors: tuple[Monitor, ...] = Field(
        default=(Monitor(name="psi"),), min_length=1, max_length=16, json_schema_extra=list_map("name")
    )
    """The scores that are watched."""
    interval: Duration = "1m"
    """How often the scores are evaluated."""
    window: Duration = "1h"
    """The scores are over the requests of the last so long."""
    min_samples: int = Field(default=500, ge=1)
    """Sampled requests in the window below which nothing is judged."""
    for_consecutive: int = Field(default=3, ge=1, le=100)
    """Evaluations in a row that must drift before something is done."""
    cooldown: Duration = "6h"
    """After an action has ended, none is started for so long."""
    max_runs_per_day: int = Field(default=4, ge=1, le=1000)
    """Retrainings started in any 24 hours."""
    suspend: bool = False
    """Scores are shown, nothing is done."""
    action: Action = Action()


class MonitorStatus(Document):
    """The newest evaluation of one monitor."""

    name: str
    """Name of the monitor."""
    metric: DriftMetric
    """Its metric."""
    worst_feature: str | None = None
    """The feature or prediction with the greatest score."""
    score: float | None = None
    """That score."""
    threshold: float
    """The monitor's threshold."""
    drifted: bool = False
    """Whether the score reached it."""
    consecutive: int = 0
    """Evaluations in a row that drifted."""


class Attempt(Document):
    """One retraining, from the trigger to its outcome."""

    number: int
    """Counted from 1."""
    phase: Literal["Preparing", "Training", "Verifying", "Comparing", "AwaitingApproval", "Promoted", "Kept", "Failed"]
    """Kept: the challenger did not pass the gate; it stays as a ModelVersion but is not promoted."""
    trigger: str = ""
    """Which monitor and feature, with score and threshold."""
    drifted_at: Time | None = None
    """The first of the evaluations that set it off."""
    triggered_at: Time
    """When the retraining was begun."""
    training_started_at: Time | None = None
    """When the training pod ran."""
    finished_at: Time | None = None
    """When it was promoted, kept or failed."""
    dataset: str | None = None
    """Name of the Dataset."""
    training_run: str | None = None
    """Name of the TrainingRun."""
    dataset_digest: Digest | None = None
    """Version of the Dataset."""
    champion: VersionReference | None = None
    """The version that served."""
    challenger: VersionReference | None = None
    """The version that was trained."""
    metric: str | None = None
    """The metric by which both were compared."""
    champion_score: float | None = None
    """The champion's."""
    challenger_score: float | None = None
    """The challenger's."""
    improvement: float | None = None
    """Relative; positive when the challenger is better."""
    rows: int | None = None
    """Rows that judged."""
    message: str = ""
    """What happened, in words."""


class Suppression(Document):
    """An action that drift asked for and that was not taken."""

    at: Time
    """When it was suppressed first."""
    reason: str
    """Suspended, Cooldown, DailyLimit, Retraining (one is running)."""
    message: str = ""
    """Until when, or what it waits for."""


class DriftPolicyStatus(Status):
    """What was measured, done and suppressed. Condition types: Ready, Reconciling, Stalled, Drifted, Measured."""

    version: VersionReference | None = None
    """The version that was judged."""
    samples: int | None = None
    """Sampled requests in the window."""
    evaluated_at: Time | None = None
    """When the scores were last evaluated with another outcome; a heartbeat would be a write a minute."""
    monitors: tuple[MonitorStatus, ...] = Field(default=(), max_length=16, json_schema_extra=list_map("name"))
    """The newest evaluation of each monitor."""
    drifted_since: Time | None = None
    """Since when the policy counts as drifted."""
    current: Attempt | None = None
    """The retraining that runs."""
    attempts: tuple[Attempt, ...] = Field(default=(), max_length=10, json_schema_extra=list_atomic())
    """The newest ten finished ones, newest first."""
    runs_started: tuple[Time, ...] = Field(default=(), max_length=1000, json_schema_extra=list_atomic())
    """Starts of the last 24 hours, for maxRunsPerDay."""
    attempt_count: int = 0
    """Retrainings ever started."""
    suppressed: Suppression | None = None
    """The action that was asked for last and not taken."""


class DriftPolicy(Resource[DriftPolicySpec, DriftPolicyStatus]):
    """A DriftPolicy compares live requests with the training data and alerts or retrains when they have drifted apart."""

    NAMES: ClassVar[Names] = Names(
        kind="DriftPolicy",
        plural="driftpolicies",
        singular="driftpolicy",
        short=("tmdrift",),
        columns=(
            *READY_COLUMNS,
            Column("Deployment", ".spec.deployment"),
            Column("Drifted", '.status.conditions[?(@.type=="Drifted")].status'),
            Column("Score", ".status.monitors[0].score", "number"),
            Column("Feature", ".status.monitors[0].worstFeature"),
            Column("Retrainings", ".status.attemptCount", "integer"),
            Column("Phase", ".status.current.phase"),
            AGE_COLUMN,
        ),
    )
    status: DriftPolicyStatus = DriftPolicyStatus()
