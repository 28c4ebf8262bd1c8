"""Whether an error says that memory did not suffice: the libraries have no class for it in common."""

from __future__ import annotations

_CLASS = "OutOfMemoryError"
"""PyTorch's, of a GPU. By its name: most tasks run where PyTorch is not installed."""
_WORDS = ("DefaultCPUAllocator", "std::bad_alloc", "bad allocation", "Failed to allocate memory")
"""Of PyTorch on a CPU, of LightGBM, and of ONNX Runtime."""


def explain(error: BaseException) -> str | None:
    """What to do about it, None when the error says something else."""
    if any(kind.__name__ == _CLASS for kind in type(error).__mro__):
        return "the GPU has too little memory for the training: lower batchSize or the size of the model, or take another GPU"
    if isinstance(error, MemoryError) or (isinstance(error, Exception) and any(word in str(error) for word in _WORDS)):
        return "the task needs more memory than the container has: raise spec.resources.memory"
    return None
