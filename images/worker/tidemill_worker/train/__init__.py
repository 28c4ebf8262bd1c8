"""The built-in tabular trainer: preprocessing fitted on the training split, a feed-forward network, one ONNX graph of both.

torch is imported by `network`, `loop` and `checkpoint` only, and only when a training runs.
"""
