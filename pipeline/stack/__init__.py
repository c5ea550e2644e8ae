"""Stack of one home: its processes, their supervision, and their state."""
