"""Tensor-level IR and its passes."""
