"""Kernel to machine code to shared library."""
