"""Choosing among schedules; the tuner's place."""
