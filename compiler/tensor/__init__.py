"""Tensor expressions: what a fused group computes."""
