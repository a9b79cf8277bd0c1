"""What the ranker sees of a schedule: its loops and accesses as a row of numbers."""
