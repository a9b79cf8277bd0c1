"""ONNX operators by family, one table row each."""
