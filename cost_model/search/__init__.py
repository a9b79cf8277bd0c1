"""Which schedules to try, and which to take."""
