"""Features: which columns a tabular training learns from, and how they become numbers, in numpy and in the ONNX graph.

Nothing here knows a model family: a plan gives a float32 matrix, and the same matrix as nodes of a graph.
"""

from tidemill_worker.train.features.columns import RESERVED, choose, choose_text, need_texts
from tidemill_worker.train.features.entries import Entry, resolve
from tidemill_worker.train.features.plan import FeaturePlan
from tidemill_worker.train.features.source import TargetValues

__all__ = ["RESERVED", "Entry", "FeaturePlan", "TargetValues", "choose", "choose_text", "need_texts", "resolve"]
