"""Which way a metric is better: for gates, comparisons and whoever marks the best of several runs."""

from __future__ import annotations

LOWER_IS_BETTER = frozenset(
    {
        "mae", "rmse", "medianAbsoluteError", "p90AbsoluteError", "mape", "smape",
        "mase", "quantileLoss",
        "logLoss", "brier", "expectedCalibrationError",
        "loss", "perplexity",
    }
)  # fmt: skip
HIGHER_IS_BETTER = frozenset(
    {
        "r2", "skill", "accuracy", "balancedAccuracy", "f1Macro",
        "rocAuc", "rocAucOvrMacro", "averagePrecision", "averagePrecisionMacro",
        "rewardAccuracy", "rewardMargin",
    }
)  # fmt: skip
"""`bias` is in neither: it is best at zero. Nor are `coverage`, best at what the quantiles promise, and `intervalWidth`, which
is worth what the coverage is; `seasonalNaiveMae` says nothing of a model."""
