"""Learning: evidence about treatments, and choices that are drawn by it."""
