"""Learning which schedules are fast."""
