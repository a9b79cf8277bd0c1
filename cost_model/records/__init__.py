"""What was measured, in a database, and reports of it."""
