"""Models as the worker sees them: ONNX files with a signature, run by ONNX Runtime; metrics and baselines over them."""
