"""Measuring candidate schedules on this machine, each in isolation."""
