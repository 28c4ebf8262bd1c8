"""What lies beside `model.onnx`: signature, baseline, evaluation; and the reports of optimisation and export."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tidemill.contract.base import Document
from tidemill.contract.evaluation import Comparison, CoursePoint, SplitDetails, Threshold
from tidemill.contract.frequency import Frequency
from tidemill.contract.trainers import ModelTask
from tidemill.contract.trainers.forecasting import Gaps

MODEL_FILE = "model.onnx"
SIGNATURE_FILE = "signature.json"
BASELINE_FILE = "baseline.json"
EVALUATION_FILE = "evaluation.json"
EVALUATION_PAGE, EVALUATION_PICTURES, EXPLANATION_FILE = "evaluation.html", "evaluation", "explanation.json"
CONFIG_FILE = "config.pbtxt"
CALIBRATION_FILE = "calibration.parquet"
"""Up to 512 raw rows of the training split: for calibration, smoke inferences and parity checks."""
REPORT_FILE = "report.json"
WEIGHTS_FILE = "weights.safetensors"
"""Of an image classifier: what a later training may start from."""
GATES_FILE = "gates.json"
"""Of a report on a model in use: how every gate came out."""
TOKENIZER_FILE = "tokenizer.json"
"""Of a model that takes tokens: makes them from text, by the library tokenizers."""
WEIGHTS_FOLDER, ADAPTER_FOLDER = "huggingface", "adapter"
"""Of a transformer: itself in Hugging Face's layout, and what low-rank adapters were before they were merged into it."""


def is_not_served(path: str) -> bool:
    """Whether a file of a model artifact is for people (a page, a picture, an explanation) or for trainings that go on."""
    beside = (EVALUATION_PICTURES, WEIGHTS_FOLDER, ADAPTER_FOLDER)
    files = (EVALUATION_PAGE, EXPLANATION_FILE, WEIGHTS_FILE)
    return path in files or path.startswith(tuple(f"{folder}/" for folder in beside))


Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "BF16", "BYTES",
]  # fmt: skip


class TensorSpec(Document):
    """A named input or output. `shape` has -1 for a free dimension; the first is the batch."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    column: str | None = None
    """The dataset's column that feeds the input, or that the output predicts."""


class ForecastSignature(Document):
    """How a forecasting model's inputs are cut from a dataset's rows, and what its answers are.

    Its input named as the target takes the last `history` values of a series, oldest first, and the input named as `time` when
    the newest of them was (seconds since 1970, UTC); `prediction` is [batch, horizon], `quantiles` [batch, horizon, quantiles].
    """

    time: str
    series: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    """Each takes the values at the `horizon` times that are forecast."""
    horizon: int = Field(ge=1)
    history: int = Field(ge=1)
    frequency: Frequency
    season: int = Field(ge=1)
    stride: int = Field(default=1, ge=1)
    gaps: Gaps = "Refuse"
    quantiles: tuple[float, ...] = ()
    """Ascending."""


class Tokens(Document):
    """How text becomes the inputs `input_ids` and `attention_mask`, both INT64 [rows, tokens of the longest]."""

    column: str | None = None
    """The dataset's column whose texts they are; none of a language model, whose rows a column does not make."""
    max_tokens: int
    """What is longer is cut."""
    pad: int
    """The token that fills up shorter rows; the mask is 0 there."""


class Signature(Document):
    """What the model takes and gives. Tabular models take one input of shape [-1, 1] per feature, named as its column."""

    task: Literal[ModelTask, "Other"]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    target: str | None = None
    classes: tuple[str, ...] | None = None
    """The classes in the order of the `probabilities` output; the `label` output holds one of them as text."""
    forecast: ForecastSignature | None = None
    """Of a forecasting model."""
    example: dict[str, list[float | int | str | bool | None]] | None = None
    """One row by input name, for the smoke inference before a version takes traffic."""
    tokens: Tokens | None = None
    """Of a model that takes tokens."""


class FeatureBaseline(Document):
    """The distribution of one feature or prediction in the training split.

    Numeric: `edges` are the k-1 inner edges of k bins; bin i holds values in [edges[i-1], edges[i]); `counts` has k entries.
    Categorical: `categories` are the most frequent ones; `counts` has one entry each and a last one for all others.
    Missing values (null, NaN, empty text) are not in counts but in `missing`.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    counts: tuple[int, ...]
    missing: int = 0

    def bins(self) -> list[str]:
        """The `bin` label of every count: "0", "1", … for numeric bins, the category or `_other_` for categorical ones."""
        if self.kind == "numeric":
            return [str(i) for i in range(len(self.counts))]
        return [*self.categories, OTHER_BIN]


OTHER_BIN = "_other_"


class Baseline(Document):
    """Distributions in the training split, by which drift is measured. `predictions` are named `prediction.<output>`."""

    rows: int
    features: tuple[FeatureBaseline, ...]
    predictions: tuple[FeatureBaseline, ...] = ()


class Evaluation(Document):
    """Metrics by split: {"validation": {"mae": …}, "test": {…}}, and rows by split; and what was asked for besides."""

    metrics: dict[str, dict[str, float]]
    rows: dict[str, int] = {}
    confidence: float | None = None
    """Level of all intervals."""
    details: dict[str, SplitDetails] = {}
    """Of validation and test."""
    threshold: Threshold | None = None
    production: Comparison | None = None
    course: tuple[CoursePoint, ...] = ()
    """Of a language model: how the losses went, at 200 epochs at most."""


class VariantReport(Document):
    """An optimised variant beside the original, measured on the same rows and the same single thread."""

    name: str
    """Name of the variant."""
    size_bytes_before: int
    """Bytes of the original."""
    size_bytes_after: int
    """Bytes of the variant."""
    metric: str
    """The metric of the error: mae for regression, accuracy for classification."""
    metric_before: float
    """The original's."""
    metric_after: float
    """The variant's."""
    error_increase: float
    """Relative growth of the error; for accuracy, the loss of it in percentage points / 100. Negative is better."""
    latency_ms_before: float
    """The original's, as latencyMsAfter."""
    latency_ms_after: float
    """Median of one-row inferences, milliseconds."""
    accepted: bool
    """Whether both tolerances are kept."""
    reason: str = ""
    """Why it was not accepted: which tolerance was exceeded, with both numbers."""


class ExportReport(Document):
    """An exported model, compared with the original in ONNX Runtime on the calibration rows and one thread."""

    name: str
    """Name of the export."""
    format: Literal["OpenVINO"]
    """Its format."""
    size_bytes_before: int | None = None
    """Bytes of the original: its graph and its weights."""
    size_bytes: int
    """Bytes of all its files."""
    max_abs_error: float = Field(ge=0)
    """Greatest absolute difference of any output."""
    rows_compared: int
    """Rows on which both were run."""
    latency_ms_before: float | None = None
    """The original's, as latencyMs."""
    latency_ms: float
    """Median of one-row inferences, milliseconds."""
    accepted: bool
    """Whether the error is within `maxAbsError`."""
    reason: str = ""
    """Why it was not accepted, with both numbers."""
