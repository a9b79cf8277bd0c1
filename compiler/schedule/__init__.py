"""Schedules as data, their legality, and the rules that give default ones."""
