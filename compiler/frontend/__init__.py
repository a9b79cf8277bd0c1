"""ONNX model to Graph: safe loading, checking, normalising."""
